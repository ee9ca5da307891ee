"""The stories, one page each."""
