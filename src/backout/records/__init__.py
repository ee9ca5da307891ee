"""Records to JSON and back, with types, versions and digests."""
