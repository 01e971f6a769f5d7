"""What the team has registered for old threads; see `agent/migrations.py`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import agent
from ..errors import ProjectError

Migration = Callable[[dict[str, Any]], Mapping[str, Any]]  # Any: values of the state


class Incompatible(ProjectError):
    """A thread was left by a release that this one does not fit, and nothing is registered that makes it fit."""


class NewerRelease(Incompatible):
    """A thread was left by a newer release: a worker of that one can go on with it."""


@dataclass(frozen=True)
class Registry:
    """Nodes by their former names, and functions that bring a state to each of its versions."""

    renamed: Mapping[str, str] = field(default_factory=dict)
    state: Mapping[int, Migration] = field(default_factory=dict)

    @property
    def version(self) -> int:
        """The version that today's state has: 0 as long as it has never changed its form."""
        return max(self.state, default=0)

    def name_of(self, node: str, nodes: Mapping[str, object]) -> str:
        """Return what the graph with these nodes calls a node today. A name that it has was never renamed."""
        names = [node]
        while node not in nodes and node in self.renamed and self.renamed[node] not in names:
            node = self.renamed[node]
            names.append(node)
        return node


def registered() -> Registry:
    """Return what the door has; a door that was made before there were migrations has none."""
    door = getattr(agent, "migrations", None)
    return Registry(door.RENAMED, door.STATE) if door else Registry()


def state_version(graph_version: str) -> int:
    """Return the version of the state in what `config.graph_version` returned; 0 if it is from before there was one."""
    number = graph_version.partition(".")[2]
    return int(number) if number.isdigit() else 0
