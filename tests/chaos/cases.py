"""What is asked: the example's scenarios, each on many threads, and how each must end."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from acme_agent.agent import scenarios
from acme_agent.scenario import Scenario

LONGEST = frozenset({"long-conversation"})  # its checkpoints are the largest; a few threads do


TWICE = 5  # every fifth thread is asked twice at once
HERE = 10  # every tenth, one of those, without a worker


@dataclass(frozen=True)
class Case:
    """A scenario on a thread."""

    thread: str
    scenario: Scenario
    turns: int = 1  # asked at the same moment
    here: bool = False  # by the process that asks, and not by a worker

    @property
    def fails(self) -> bool:
        """Whether the scenario's script lets the run fail."""
        return self.scenario.expected.get("verdict") == "escalate"

    def differences(self, values: Mapping[str, Any], undisturbed: Mapping[str, Any]) -> list[str]:
        """Return the keys of the state in which a disturbed run differs (Any: values of the state)."""
        return sorted(key for key in {*values, *undisturbed} if _plain(values.get(key)) != _plain(undisturbed.get(key)))


def cases(threads: int) -> list[Case]:
    """Return so many cases, one scenario after the other."""
    known = scenarios()
    usual = [scenario for scenario in known if scenario.name not in LONGEST]
    chosen = [known[n % len(known)] if n < 2 * len(known) else usual[n % len(usual)] for n in range(threads)]
    return [
        Case(f"chaos-{number:04}", scenario, 2 if number % TWICE == TWICE - 1 else 1, here=number % HERE == HERE - 1)
        for number, scenario in enumerate(chosen)
    ]


def _plain(value: object) -> object:
    """Return a value without what differs from run to run: a message's id."""
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if hasattr(value, "content"):
        return (type(value).__name__, value.content, _plain(getattr(value, "tool_calls", None)))
    return value
