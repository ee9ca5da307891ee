"""Execution: carry out the cleared plan, keep what it destroys, stop at the first failure."""
