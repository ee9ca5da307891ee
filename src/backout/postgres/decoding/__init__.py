"""Read the row changes of an armed logical slot: parse, assemble transactions, tell the migration apart."""
