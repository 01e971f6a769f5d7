"""Real servers for tests, started without Docker."""
