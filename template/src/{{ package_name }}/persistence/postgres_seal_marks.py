"""How a sealed row is told from one in the clear, with or without a key."""

SEALED = "sealed1."  # begins the type of a sealed row; the key's id follows
SEALED_METADATA = "sealed"  # the name under which all metadata but the CLEAR is, after the type and a colon

# Metadata that LangGraph, purging and listing look for in the database. The rest is sealed, and cannot be searched.
CLEAR = ("source", "step", "parents", "run_id")


def key_in(mark: str) -> str:
    """Return the id of the key that sealed a row of this type; empty for a row in the clear."""
    return mark[len(SEALED) :] if mark.startswith(SEALED) else ""
