"""Containment: stop the jobs that still write, reversibly."""
