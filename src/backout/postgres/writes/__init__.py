"""Apply translated changes to another database, each exactly once, with their position in the same commit."""
