"""A scenario: a named input that the team's graph runs offline to its end, for the readiness standard to drive."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .settings import Settings


def _no_effects(_settings: Settings) -> list[str]:
    return []


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One conversation turn, with everything that makes it deterministic.

    `input` is the graph's input. `settings` replaces fields of the team's settings for this scenario, above all the
    model by a scripted one. `answers` are given to the run's interrupts, in order. `expected` is the part of the final
    state that the scenario promises. `effects` lists what the run has done to the world outside, under the settings it
    ran with; a crashed and resumed run must list the same as an undisturbed one. `secrets` names the keys of the input
    whose values no superstep may store.
    """

    name: str
    input: Mapping[str, Any]  # Any: a state's values are the team's own
    settings: Mapping[str, Any] = field(default_factory=dict)  # Any: as above, for the settings' fields
    answers: tuple[str, ...] = ()
    expected: Mapping[str, Any] = field(default_factory=dict)  # Any: as above
    effects: Callable[[Any], list[str]] = _no_effects  # Any: the team's own subclass of Settings
    secrets: tuple[str, ...] = ()
