"""Levers that move an application's traffic, one file a kind."""
