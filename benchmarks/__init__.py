"""Measures of backout's own cost, each beside a floor that was measured in the same run."""
