"""The engine: what a check is, and what pytest and its reports make of it."""
