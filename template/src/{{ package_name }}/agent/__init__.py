"""The door: all that the rest of the project knows of your agent."""

from . import migrations
from .graph import build_graph
from .offline_scenarios import scenarios
from .settings import AgentSettings
from .state import State
from .turn import check, checkpoint_types, new_input

__all__ = ["AgentSettings", "State", "build_graph", "check", "checkpoint_types", "migrations", "new_input", "scenarios"]
