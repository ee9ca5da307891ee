"""Small programs that keep the house in order; used by `./run`, never by backout itself."""
