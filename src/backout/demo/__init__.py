"""The living world of the demo."""
