"""What a deployment of this agent can set, besides the fields every project has."""

from pathlib import Path

from pydantic import Field

from ..settings import Settings
from .routing import RECURSION_LIMIT


class AgentSettings(Settings):
    """Add your own fields here: each is an environment variable, and in a node `runtime.context` has it."""

    model: str = Field("offline", description="'offline', or provider:name as init_chat_model takes it.")
    docs: Path = Field(Path("docs"), description="The folder of Markdown and text files that answers come from.")
    recursion_limit: int = Field(RECURSION_LIMIT, ge=1, le=1000, description="Supersteps a run may take, a call.")
