"""Records to words: what people read."""
