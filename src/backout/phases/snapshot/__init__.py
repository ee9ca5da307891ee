"""Backup snapshots: taken, fully read back, proven by restoring them."""
