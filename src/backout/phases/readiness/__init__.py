"""Is this target fit to be rescued: what `doctor` looks at, and what `init` writes down."""
