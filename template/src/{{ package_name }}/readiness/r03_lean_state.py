"""R03 state is lean: small checkpoints without documents, which do not grow from turn to turn.

What the scenarios have stored is measured; then some of them are played turn after turn on one thread, for as long as
anything grows.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from ..scenario import Scenario
from .engine.budgets import Budgets
from .engine.check import Check, Exam
from .playing.conversing import converse, is_messages, last, next_turn, place_of
from .playing.play import Played, Plays

TURNS = 8  # of a conversation
MOST_TURNS = 36  # while something grows: a list that is kept to its newest thirty has stopped by then
WINDOW = 4  # turns, the last ones: what grows in each of them grows
CONVERSATIONS = 2  # each with the scenario that runs most nodes not seen before
PER_MESSAGE = 400  # bytes of a stored message besides its text
PER_TOKEN = 4  # bytes
KB = 1000  # bytes

CHECK = Check(
    id="R03",
    title="state is lean",
    holds="in every scenario no checkpoint is over `checkpoint_kb`, no string or bytes in a channel is over"
    " `channel_kb`, and no channel grows turn after turn, but for messages up to the bound of the summary.",
    why="every superstep stores the state and every read loads it, so what a channel holds is paid for many times.",
    remedy="keep the document in a store and its id in the state; give a channel of one turn a new value in the input"
    " (`Overwrite([])` where there is a reducer); bound what is to be kept (`[-20:]`).",
    fact="measured: 100 turns with messages of 500 bytes, 0.14 MB of text, made 14 MB in the database; one saver"
    " stored a channel of 200 kB as 4.7 MB in 20 supersteps. Read: 572 MB of checkpoints were 40 % of a database.",
    not_covered="documents cut into many small strings within `checkpoint_kb`; what grows on paths that no scenario"
    " takes, or only now and then. A bound of over 36 turns is none here.",
)


def test_checkpoints_are_small(scenarios: list[Scenario], plays: Plays, budgets: Budgets, exam: Exam) -> None:
    """No checkpoint and no text in one is too large."""
    documents: dict[tuple[str, str], tuple[int, str]] = {}  # the largest text by channel and node, with its scenario
    for scenario in scenarios:
        played = plays.of(scenario)
        exam.look("checkpoints", len(played.checkpoints))
        _require_small(played, budgets, exam)
        found = [(write.channel, write.node, write.value) for write in played.writes]
        by_node = {channel for channel, node, _ in found if node}
        for stored in played.checkpoints:
            found += [(name, "", value) for name, value in stored.values.items() if name not in by_node]
        for channel, node, value in found:
            size = max(map(_size, _texts(value)), default=0)
            documents[channel, node] = max(documents.get((channel, node), (0, "")), (size, scenario.name))
    for (channel, node), (size, name) in documents.items():
        who = f"node {node} writes" if node else "the input brings"
        text = f"scenario {name}: {who} a text of {size / KB:,.1f} kB into `{channel}`, {budgets.channel_kb} kB at most"
        exam.require(size <= budgets.channel_kb * KB, text, place_of(node))


def test_state_does_not_grow_with_turns(
    scenarios: list[Scenario], plays: Plays, budgets: Budgets, tmp_path: Path, exam: Exam
) -> None:
    """A conversation of many turns leaves what one of few does."""
    for number, scenario in enumerate(_covering([plays.of(scenario) for scenario in scenarios])):
        asyncio.run(_examine(scenario, budgets, tmp_path / str(number), exam))


async def _examine(scenario: Scenario, budgets: Budgets, folder: Path, exam: Exam) -> None:
    later = (next_turn(scenario.input) for _ in range(TURNS - 1))
    turns = await converse([scenario.input, *later], scenario, folder)
    while _growing(turns) and TURNS <= len(turns) < MOST_TURNS:
        turns = await converse([next_turn(scenario.input)], scenario, folder, before=turns)
    exam.look("turns", len(turns))
    if turns[-1].error:
        exam.find(f"scenario {scenario.name}, played again on its thread, fails: {turns[-1].error!r}")
        return
    _require_small(
        max(turns, key=lambda one: max((stored.size for stored in one.checkpoints), default=0)), budgets, exam
    )
    for channel, (early, late) in _growing(turns).items():
        writers = sorted({write.node for write in turns[-1].writes if write.channel == channel and write.node})
        text = (
            f"scenario {scenario.name}, turn after turn on one thread: `{channel}` grows and grows: {early:,} bytes"
            f" after turn {len(turns) - WINDOW}, {late:,} after turn {len(turns)};"
            f" written by {', '.join(writers) or 'the input'}"
        )
        exam.find(text, place_of(writers[0]) if writers else None)
    end = last(turns[-1])
    for channel, value in end.values.items() if end else ():
        if end and is_messages(value):
            bound = budgets.summary_tokens * PER_TOKEN + PER_MESSAGE * len(value)
            text = (
                f"scenario {scenario.name}, after {len(turns)} turns: {len(value)} messages in `{channel}` are"
                f" {end.sizes[channel]:,} bytes, {bound:,} at most with a summary"
            )
            exam.require(end.sizes[channel] <= bound, text)


def _require_small(played: Played, budgets: Budgets, exam: Exam) -> None:
    stored = max(played.checkpoints, key=lambda one: one.size, default=None)
    if not stored or not stored.sizes:
        return
    channel = max(stored.sizes, key=lambda name: stored.sizes[name])
    text = (
        f"scenario {played.scenario.name}: a checkpoint has {stored.size / KB:,.1f} kB,"
        f" {budgets.checkpoint_kb} at most; `{channel}` alone has {stored.sizes[channel] / KB:,.1f}"
    )
    exam.require(stored.size <= budgets.checkpoint_kb * KB, text)


def _growing(turns: Sequence[Played]) -> dict[str, tuple[int, int]]:
    """Return the channels that have grown in the last turns, each of them, with their sizes before and after."""
    ends = [last(one) for one in turns[-WINDOW - 1 :]]
    if len(ends) <= WINDOW or not all(ends):
        return {}
    found: dict[str, tuple[int, int]] = {}
    held = ends[-1].values if ends[-1] else {}
    for channel, value in held.items():
        sizes = [one.sizes.get(channel, 0) for one in ends if one]
        steady = all(before < after for before, after in pairwise(sizes))
        if steady and not is_messages(value):
            found[channel] = sizes[0], sizes[-1]
    return found


def _covering(records: Sequence[Played]) -> Iterator[Scenario]:
    """Yield the scenarios that run the most nodes, each more than those before it."""
    seen: set[str] = set()
    ended = [played for played in records if played.status and played.status.condition != "waiting"]
    for _ in range(CONVERSATIONS):
        best = max(ended, key=lambda played: len({*played.tasks.values()} - seen), default=None)
        if best is None or not {*best.tasks.values()} - seen:
            return
        seen |= {*best.tasks.values()}
        yield best.scenario


def _texts(value: object) -> Iterator[str | bytes]:
    """Yield every string and bytes in a value, however deep."""
    if isinstance(value, str | bytes | bytearray):
        yield bytes(value) if isinstance(value, bytearray) else value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _texts(key)
            yield from _texts(part)
    elif isinstance(value, list | tuple | set | frozenset):
        for part in value:
            yield from _texts(part)
    elif isinstance(value, BaseException):  # its attributes may lead anywhere
        yield str(value)
    elif not isinstance(value, type) and not callable(value):
        names = (*getattr(value, "__dict__", ()), *_slots(value))
        yield from _texts([getattr(value, name, None) for name in names])


def _slots(value: object) -> tuple[str, ...]:
    slots = getattr(type(value), "__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _size(text: str | bytes) -> int:
    return len(text.encode(errors="surrogatepass") if isinstance(text, str) else text)
