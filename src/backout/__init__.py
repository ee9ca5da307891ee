"""Back out a bad PostgreSQL migration without losing one acknowledged write."""

__version__ = "0.1.0"
