"""Triage: which migration it is, what it touched, how far it came."""
