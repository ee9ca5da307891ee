"""Our journal and durable execution: stories advance here, step by step."""
