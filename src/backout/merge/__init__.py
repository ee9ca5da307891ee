"""Three states, one merge: before the migration, just after it, and now. Pure; its rules live here only."""
