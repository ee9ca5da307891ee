"""Generated worlds: tables, a migration of many kinds, an application after it, and what must come of it."""
