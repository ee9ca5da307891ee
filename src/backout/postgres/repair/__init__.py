"""Repair in place: read what a migration did from two copies, write it back beside running writers."""
