"""The package: `agent` is yours, every other room belongs to the template."""

import os

# LangGraph reads this once, when it is first imported: a checkpoint may then only restore types that it was told of.
os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")
