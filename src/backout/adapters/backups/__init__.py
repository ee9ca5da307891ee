"""Backup tools: what each can restore, to which point, always as a new instance."""
