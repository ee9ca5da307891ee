"""Scratch servers: from programs on this machine, or one that the user names."""
