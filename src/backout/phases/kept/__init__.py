"""Kept values: what a down destroyed, listed, exported and put back."""
