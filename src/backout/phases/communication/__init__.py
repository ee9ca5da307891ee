"""Communication: who hears what, when."""
