"""Verification: believe only the history table, the schema and the checks people agreed on."""
