"""The production-readiness standard, a check a file, driven by the agent's own `scenarios()`. `make ready` runs it."""
