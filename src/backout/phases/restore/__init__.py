"""Restore from backup: a new instance beside the old one, looked at, and opened to the application."""
