"""Statements as text: split, classified, read for what they change and what they may destroy; pure."""
