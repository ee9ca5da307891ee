"""Postmortem: the record of the incident, from the journal."""
