"""Bring back what a migration destroyed and keep what the application wrote since."""
