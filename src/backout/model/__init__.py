"""The nouns of the runbook: frozen records, standard library only."""
