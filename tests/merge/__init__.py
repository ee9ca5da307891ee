"""Tests of the merge: pure, no server."""
