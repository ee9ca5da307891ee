"""The gate: nothing that changes production happens before it opens."""
