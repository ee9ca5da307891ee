"""What backout asks of the world: one Protocol a file, its contract in prose."""
