"""R02 state serialises: what a checkpoint stores of the state comes back as it was.

Each channel's annotation is given to hypothesis, which makes values of it, always the same ones; each is stored by the
serializer that production has, and read again. So is all that the scenarios store.
"""

import dataclasses
import datetime as dt
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis.errors import Unsatisfiable
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from pydantic import BaseModel

from ..agent import checkpoint_types
from ..persistence import ValueRefused, ValueUnreadable
from ..persistence.exact import StrictSerializer
from ..scenario import Scenario
from .engine.check import Check, Exam
from .playing.play import Plays
from .playing.samples import Samples
from .source.channels import Channel, channels, path_of, stored_graphs

EXAMPLES = 20  # values of a channel
LONGEST = 120  # characters of a value that are shown
TEXT_ONLY = "__error__"  # LangGraph's channel for what a node raised: its text is all that is kept

CHECK = Check(
    id="R02",
    title="state serialises",
    holds="a value of every channel's type, stored by the strict serializer and read again, is the value that it was;"
    " no channel is for a client, a lock or another handle; and no scenario stores a datetime without a zone.",
    why="a run that goes on after a crash reads its state back, and what comes back as something else breaks a node"
    " that worked in every test.",
    remedy="name your own classes in the channel's annotation, or in `checkpoint_types` in the agent's door; define"
    " them at the top level of a module; use `list` for `tuple`; take clients from the runtime's context"
    " (`Runtime[...]`) or make them in the node, or annotate `UntrackedValue`; take times from `datetime.now(UTC)`.",
    fact="LangGraph's own serializer gives back a tuple as a list, a StrEnum as a str and an exception as its text, and"
    " in strict mode a model inside `Sequence[...]` or an untyped dict as a dict, with a warning at most; locks and"
    " other plain objects fail the run (measured with langgraph 1.2.22).",
    not_covered="values that no annotation tells and no scenario stores, such as what is inside `Any`; whether a class"
    " of today reads what an earlier release stored (R14).",
)


def test_types_round_trip(scenarios: list[Scenario], plays: Plays, exam: Exam) -> None:
    """Values that hypothesis makes of the annotations come back."""
    serializers = dict(_serializers())
    for channel in channels():
        exam.look("channels")
        samples = Samples(channel.annotation)
        for at, kind in samples.refused.items():
            name = f"{kind.__module__}.{kind.__qualname__}" if hasattr(kind, "__qualname__") else str(kind)
            exam.find(f"{channel.label}{at} is for {name}, which no checkpoint can hold", channel.place)
        made, complaint = _try(samples, serializers[channel.path])
        exam.look("values", made)
        if complaint:
            exam.find(f"{channel.label}: {complaint}", channel.place)
        elif not made and not samples.refused and not _is_played(channel, scenarios, plays):
            exam.find(
                f"{channel.label}: no value of {channel.annotation} could be made, and no scenario stores one: add a"
                " scenario that does",
                channel.place,
            )


def test_stored_values_round_trip(scenario: Scenario, plays: Plays, exam: Exam) -> None:
    """What the scenario stored comes back, and tells which zone its times are of."""
    played = plays.of(scenario)
    places = {(channel.path, channel.name): channel.place for channel in channels()}
    stored = [(one.namespace, name, value) for one in played.checkpoints for name, value in one.values.items()]
    written = [(one.namespace, one.channel, one.value) for one in played.writes if one.channel != TEXT_ONLY]
    found: set[tuple[str, str]] = set()
    for namespace, name, value in [*stored, *written]:
        exam.look("stored values")
        at = (path_of(namespace), name)
        own = name.startswith("__") and isinstance(value, tuple)  # of LangGraph's: it reads lists as well
        complaint = _round_trip(played.serializers[namespace], list(value) if own else value)
        if not complaint and (naive := next(_naive(value), None)):
            complaint = f"{naive.isoformat()} is a datetime without a zone"
        if complaint and at not in found:
            found.add(at)
            exam.find(f"scenario {scenario.name}, channel {''.join(at)}: {complaint}", places.get(at))
    if isinstance(played.error, ValueRefused) and not found:
        exam.find(f"scenario {scenario.name}: {played.error}")


def _serializers() -> Iterator[tuple[str, SerializerProtocol]]:
    """Yield what stores each graph's state: LangGraph adds the types of a graph's schemas to the door's."""
    serializers: dict[str, SerializerProtocol] = {"": StrictSerializer(checkpoint_types)}
    for path, graph in stored_graphs():
        outer = path[: path.rstrip(":").rfind(":") + 1]
        saver: Any = graph.compile(checkpointer=BaseCheckpointSaver(serde=serializers[outer])).checkpointer
        serializers[path] = saver.serde  # Any: `checkpointer` may be a bool
        yield path, serializers[path]


def _try(samples: Samples, serializer: SerializerProtocol) -> tuple[int, str]:
    """Return how many values were tried, and what happened to the simplest one that did not come back, if any."""
    tried = 0
    complaint = ""

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,  # the same values in each run: a verdict is not a matter of luck
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    @given(samples.values)
    def comes_back(value: object) -> None:
        nonlocal tried, complaint
        tried += 1
        if found := _round_trip(serializer, value):
            complaint = found
            raise _Changed

    with suppress(_Changed, Unsatisfiable):
        comes_back()
    return tried, complaint


class _Changed(Exception):
    """A value did not come back as it was."""


def _round_trip(serializer: SerializerProtocol, value: object) -> str:
    """Return what is wrong with the value when it comes back; nothing if it is the same."""
    try:
        restored = serializer.loads_typed(serializer.dumps_typed(value))
    except (ValueRefused, ValueUnreadable) as error:
        return str(error)
    change = _change(value, restored)
    return f"{repr(value)[:LONGEST]} comes back with {change}" if change else ""


def _change(before: Any, after: Any) -> str:  # noqa: PLR0911 - one for each kind of value; Any: whatever was stored
    if type(before) is not type(after):
        return f"{_name(after)} in the place of {_name(before)}"
    if isinstance(before, float) and math.isnan(before) and math.isnan(after):
        return ""
    if isinstance(before, list | tuple | dict):
        if len(before) != len(after):
            return f"{len(after)} parts in the place of {len(before)}"
        pairs = [*zip(before, after, strict=True)]
        if isinstance(before, dict):
            pairs += zip(before.values(), after.values(), strict=True)
        return next(filter(None, (_change(*pair) for pair in pairs)), "")
    if isinstance(before, set | frozenset):  # by what is shown: one NaN is not another
        return "" if sorted(map(repr, before)) == sorted(map(repr, after)) else "other members"
    if parts := _parts(before):
        return _change(parts(before), parts(after))
    if hasattr(before, "tobytes"):
        return "" if before.tobytes() == after.tobytes() else "other numbers"
    return "" if before == after else f"{after!r:.40} in the place of {before!r:.40}"


def _parts(value: object) -> Callable[[Any], dict[str, Any]] | None:  # Any: such values, and what is in them
    if isinstance(value, BaseModel):
        return lambda model: {**model.__dict__, **(model.__pydantic_extra__ or {})}
    if dataclasses.is_dataclass(value):
        return lambda data: {field.name: getattr(data, field.name, None) for field in dataclasses.fields(data)}
    return None


def _naive(value: Any) -> Iterator[dt.datetime]:  # Any: whatever was stored
    if isinstance(value, dt.datetime) and value.tzinfo is None:
        yield value
    elif isinstance(value, dict):
        yield from (found for each in value.values() for found in _naive(each))
    elif isinstance(value, list | tuple | set | frozenset):
        yield from (found for each in value for found in _naive(each))
    elif parts := _parts(value):
        yield from _naive(parts(value))


def _is_played(channel: Channel, scenarios: list[Scenario], plays: Plays) -> bool:
    checkpoints = (one for scenario in scenarios for one in plays.of(scenario).checkpoints)
    return any(path_of(one.namespace) == channel.path and channel.name in one.values for one in checkpoints)


def _name(value: object) -> str:
    return f"a value of type {type(value).__qualname__}"
