"""R04 reducers: what several nodes write is joined, and joined alike in whatever order they write it.

Who writes a channel is read in the nodes' code and seen when the scenarios are played. What tasks of one superstep
wrote is then given to the channel again, in other orders.
"""

import types
from collections import abc, deque
from collections.abc import Iterator, Sequence
from copy import deepcopy
from itertools import islice, permutations
from typing import Annotated, Any, NotRequired, Required, Union, get_args, get_origin

from langchain_core.messages import BaseMessage
from langgraph.channels.ephemeral_value import EphemeralValue
from langgraph.channels.last_value import LastValue, LastValueAfterFinish

from ..scenario import Scenario
from .engine.check import Check, Exam
from .playing.play import Plays
from .source.channels import Channel, channels
from .source.nodes import graphs
from .source.writers import NOTHING, Parallel, Writers, writers_of

ORDERS = 24  # of the tasks of a superstep: all of four tasks
SHOWN = 100  # characters of a value

CHECK = Check(
    id="R04",
    title="reducers",
    holds="every list or dict channel that more than one node writes has a reducer, so has every channel that parallel"
    " branches write, and the reducers make the same state of the branches' writes in any order; the order of the items"
    " in a list does not count. A node that empties a channel, or gives back what it holds, does not write it.",
    why="without a reducer a channel keeps what was written last: what another node or the last turn put there is gone,"
    " without an error.",
    remedy="annotate the channel: `Annotated[list[AnyMessage], add_messages]`, `Annotated[list[str], operator.add]`, or"
    " a function of your own in `agent/reducers.py`, which must not care which branch comes first. Where several nodes"
    " are meant to replace the whole, say so with a reducer that returns its second argument.",
    fact="a published template keeps its messages without a reducer, and the second turn forgets the first (measured)."
    " Two branches that write such a channel in one superstep fail the run: InvalidUpdateError.",
    not_covered="nodes that return what a function made, on paths that no scenario takes; the order of branches that no"
    " scenario runs side by side; channels annotated `Any`; a list or dict inside a model or TypedDict.",
)

_COLLECTIONS: dict[Any, str] = {  # Any: classes and abstract ones
    **dict.fromkeys((list, deque, abc.Sequence, abc.MutableSequence), "list"),
    **dict.fromkeys((set, frozenset, abc.Set, abc.MutableSet), "set"),
    **dict.fromkeys((dict, abc.Mapping, abc.MutableMapping), "dict"),
}


def test_what_several_write_is_joined(scenarios: list[Scenario], plays: Plays, exam: Exam) -> None:
    """Channels with several writers have a reducer, and it makes the same of their writes in any order."""
    found = writers_of(plays.of(scenario) for scenario in scenarios)
    for channel in channels(graphs()):
        exam.look("channels")
        writers = found.get((channel.path, channel.name), Writers())
        given = [scenario.input.get(channel.name) for scenario in scenarios] if not channel.path else []
        if complaint := _lost(channel, writers, given):
            exam.find(complaint, channel.place)
        for parallel in () if _holds_one(channel) else writers.parallel:
            exam.look("parallel writes", len(parallel.writes))
            if complaint := _depends_on_order(channel, parallel):
                exam.find(complaint, channel.place)


def _lost(channel: Channel, writers: Writers, given: Sequence[object]) -> str:
    """Return what a channel without a reducer loses; nothing if it loses nothing."""
    names = sorted(writers.places)
    if _holds_one(channel) and writers.side_by_side:
        tasks = f"parallel tasks of {_named(sorted(writers.side_by_side))}"
        return f"{channel.label} has no reducer, and {tasks} write it: two writes in one superstep fail the run"
    kind = next(_kinds(channel.annotation), "")
    if not kind or not isinstance(channel.channel, LastValue | LastValueAfterFinish):
        return ""
    if len(names) > 1:
        return f"{channel.label}, a {kind} without a reducer, is written by {_named(names)}: it keeps the last write"
    if names and any(given) and (_names_messages(channel.annotation) or any(map(_are_messages, given))):
        return (
            f"{channel.label}, a {kind} of messages without a reducer, is written by the input and by {_named(names)}:"
            " the second turn forgets the first"
        )
    return ""


def _holds_one(channel: Channel) -> bool:
    """Whether the channel refuses a second write in a superstep."""
    of = channel.channel
    return isinstance(of, LastValue | LastValueAfterFinish) or (isinstance(of, EphemeralValue) and of.guard)


def _depends_on_order(channel: Channel, parallel: Parallel) -> str:
    """Return how the state depends on the order of the branches; nothing if it does not."""
    results = []
    for order in islice(permutations(parallel.writes), ORDERS):
        before = parallel.before
        live = channel.channel.copy() if before is NOTHING else channel.channel.from_checkpoint(deepcopy(before))
        try:
            live.update(deepcopy([value for writes in order for value in writes]))
            results.append(live.get())
        except Exception as error:  # noqa: BLE001 - a reducer of the team's may raise anything
            results.append(repr(error))
        if _content(results[-1]) != _content(results[0]):
            return (
                f"{channel.label}: of what {_named(parallel.nodes)} wrote side by side its reducer makes"
                f" {results[0]!r:.{SHOWN}} in one order and {results[-1]!r:.{SHOWN}} in another"
            )
    return ""


def _content(value: Any) -> Any:  # Any: a channel's value, and something to compare
    """Return what there is in a value, whatever its order: LangGraph itself gives the items of a list theirs."""
    if isinstance(value, BaseMessage):  # without its id: a reducer makes one for a message that has none
        return _content(value.model_dump(exclude={"id"}))
    if isinstance(value, dict):
        return sorted((repr(key), repr(_content(held))) for key, held in value.items())
    if isinstance(value, list | tuple | set | frozenset | deque):
        return sorted(repr(_content(each)) for each in value)
    return f"{value:.9g}" if isinstance(value, float) else repr(value)  # a sum of floats ends in other digits


def _kinds(annotation: Any) -> Iterator[str]:  # Any: a type, or a form of `typing`
    """Yield "list", "set" or "dict" if the annotation allows one."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Annotated, Required, NotRequired):
        yield from _kinds(arguments[0])
    elif origin in (Union, types.UnionType):
        for one in arguments:
            yield from _kinds(one)
    elif kind := _COLLECTIONS.get(origin or annotation):
        yield kind


def _names_messages(annotation: Any) -> bool:  # Any: as above
    if isinstance(annotation, type) and issubclass(annotation, BaseMessage):
        return True
    return any(map(_names_messages, get_args(annotation)))


def _are_messages(value: object) -> bool:
    """Whether these are messages, as LangChain's or as providers' dicts."""
    items = value if isinstance(value, list) else []
    return any(
        isinstance(one, BaseMessage) or (isinstance(one, dict) and {"role", "content"} <= {*one}) for one in items
    )


def _named(names: Sequence[str]) -> str:
    return f"node{'s' * (len(names) > 1)} {', '.join(names)}"
