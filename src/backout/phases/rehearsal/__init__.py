"""Rehearsal: run the plan on a clone of the proven copy and measure what it does."""
