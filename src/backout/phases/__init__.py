"""One folder per runbook section: gather reads, decide judges, act changes."""
