"""Real servers and worlds for tests, ours and those of adapters that others write."""
