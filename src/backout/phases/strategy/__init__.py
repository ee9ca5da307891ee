"""Strategy: which ways back there are, what each costs, which one to recommend."""
