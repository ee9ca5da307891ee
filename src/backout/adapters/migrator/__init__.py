"""Adapters of the port `migrator`: the user's migration tools, driven by their real interfaces."""
