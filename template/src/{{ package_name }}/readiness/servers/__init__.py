"""Real servers for tests, started without Docker: PostgreSQL and PgBouncer."""
