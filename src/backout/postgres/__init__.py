"""The PostgreSQL room: everything that speaks to a server, and nothing that decides."""
