"""The world that is rescued: a server, a project with migrations, an application with a ledger, an ETL."""
