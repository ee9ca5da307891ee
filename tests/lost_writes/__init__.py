"""Tests of bringing back what a migration destroyed, on real servers."""
