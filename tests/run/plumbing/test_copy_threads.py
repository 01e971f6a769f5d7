"""`copy-threads`: whole threads arrive in another database, wherever they stood, and none by halves."""

import asyncio
import base64
import os
import secrets
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from acme_agent.agent import AgentSettings, build_graph, checkpoint_types, scenarios
from acme_agent.persistence import drop_reservation, list_threads, open_checkpointer, open_ledger
from acme_agent.readiness.playing.inflight import Recording, bring_back, read, record
from acme_agent.readiness.playing.play import settings_for
from acme_agent.runs import Runs, copy_threads, copying, settings_at
from acme_agent.runs.forking import copy_checkpoint
from acme_agent.runs.holder import machine
from acme_agent.scenario import Scenario
from langgraph.checkpoint.base import BaseCheckpointSaver
from pydantic import SecretStr

pytestmark = pytest.mark.anyio

PAIRS = [*product(["sqlite", "valkey", "postgresql", "dynamodb"], repeat=2)]
TWINS = 2  # threads at each place
BOUND = 60.0  # seconds for a process to get somewhere

Recorded = dict[str, tuple[Scenario, bytes]]


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """What each scenario stored, call by call."""
    folder = tmp_path_factory.mktemp("recorded")
    found = {}
    for scenario in scenarios():
        (folder / scenario.name).mkdir()
        found[scenario.name] = scenario, asyncio.run(record(scenario, "1.0", folder / scenario.name))
    return found


@pytest.fixture
def pair(request: pytest.FixtureRequest, make_database: Callable[..., str], template: str, tmp_path: Path) -> list[str]:
    """The URLs of two empty databases, ready to be used."""
    kinds = getattr(request, "param", ("sqlite", "sqlite"))
    made = {"sqlite": lambda: f"sqlite:///{tmp_path}/{uuid4().hex}.db", "postgresql": lambda: make_database(template)}
    made["valkey"] = lambda: f"{request.getfixturevalue('valkey_server_url')}?prefix={uuid4().hex}"
    made["dynamodb"] = lambda: f"{request.getfixturevalue('dynamodb_url')}&prefix={uuid4().hex}"
    return [made[kind]() for kind in kinds]


def at(url: str, folder: Path, **more: Any) -> AgentSettings:
    return AgentSettings(_env_file=None, database_url=SecretStr(url), data_dir=folder, environment="test", **more)


@asynccontextmanager
async def opened(url: str, settings: AgentSettings) -> AsyncIterator[tuple[Runs, BaseCheckpointSaver[Any]]]:
    async with open_checkpointer(url, settings=settings, types=checkpoint_types) as saver:
        graph = build_graph().compile(checkpointer=saver)
        assert isinstance(graph.checkpointer, BaseCheckpointSaver)
        async with Runs(graph, settings, open_ledger(saver)) as runs:
            yield runs, graph.checkpointer


async def fill(
    url: str, folder: Path, recorded: Recorded, names: list[str] | None = None, *, twins: int = 1
) -> dict[str, Any]:
    """Leave threads at each place of each scenario; return what each of them is to end as."""
    expected = {}
    async with opened(url, at(url, folder)) as (runs, saver):
        for name, (scenario, packed) in recorded.items():
            if names is None or name in names:
                recording = read(packed, saver)
                for stop, twin in product(recording.stops(), range(twins)):
                    thread = f"{name}-{stop}-{twin}"
                    await bring_back(recording, stop, thread, saver, runs.ledger)
                    expected[thread] = scenario, recording, stop
    return expected


async def end(runs: Runs, thread: str, scenario: Scenario, recording: Recording, stop: int) -> None:
    """Go on with a thread and look whether it ends as it would have."""
    answers = iter(scenario.answers[recording.answered(stop) :])
    status = await runs.status(thread)
    while status.condition in {"queued", "waiting", "unfinished"}:
        if status.condition == "waiting":
            status = await runs.answer(thread, next(answers))
        else:
            status = await runs.resume(thread)
    assert (status.condition, status.error) == (recording.condition, recording.error), thread
    assert {key: status.values.get(key) for key in scenario.expected} == dict(scenario.expected), thread


async def copied(source: str, target: str, folder: Path, **more: Any) -> Counter[str]:
    outcomes = await copy_threads(at(source, folder, **more), at(target, folder, **more), lambda _: None)
    return Counter({str(outcome): number for outcome, number in outcomes.items()})


@pytest.mark.parametrize("pair", PAIRS, indirect=True, ids=["-to-".join(pair) for pair in PAIRS])
async def test_threads_end_there_as_they_would_have(pair: list[str], tmp_path: Path, recorded: Recorded) -> None:
    """Left in the queue, after each superstep, between two tasks of one, and at each question."""
    source, target = pair
    few = any(url.startswith("dynamodb") for url in pair) and not os.environ.get("ALL_BACKENDS")  # as moto is slow
    recorded = {name: what for name, what in recorded.items() if not few or name == "approval-given"}
    expected = await fill(source, tmp_path, recorded, twins=1 if few else TWINS)
    assert len(expected) > (10 if few else 200)
    assert await copied(source, target, tmp_path) == {"copied": len(expected)}
    assert await copied(source, target, tmp_path) == {"there": len(expected)}  # and changes nothing

    async with opened(source, at(source, tmp_path)) as (old, _), opened(target, at(target, tmp_path)) as (new, _):
        for thread in expected:
            ours, theirs = [await runs.status(thread) for runs in (old, new)]
            assert (theirs.condition, theirs.next, theirs.step) == (ours.condition, ours.next, ours.step)
            assert [question.payload for question in theirs.questions] == [one.payload for one in ours.questions]
            audits = [[(entry.kind, entry.detail) for entry in await runs.ledger.audit(thread)] for runs in (old, new)]
            assert audits[0] == audits[1]
    for number, (scenario, _) in enumerate(recorded.values()):
        settings = settings_for(scenario, tmp_path / str(number), database_url=SecretStr(target))
        async with opened(target, settings) as (runs, _):
            for thread, (of, recording, stop) in expected.items():
                if of is scenario:
                    await end(runs, thread, scenario, recording, stop)


async def test_a_run_whose_process_was_killed_goes_on_in_the_target(
    pair: list[str], tmp_path: Path, recorded: Recorded
) -> None:
    source, target = pair
    expected = await fill(source, tmp_path, recorded, ["straight-pass"])
    dead = await asyncio.create_subprocess_exec("true")
    await dead.wait()
    async with opened(source, at(source, tmp_path)) as (runs, _):
        for thread in expected:
            (run,) = await runs.ledger.line(thread)
            assert await runs.ledger.claim(run.run_id, f"{machine()}/{dead.pid}/x")
    assert await copied(source, target, tmp_path) == {"copied": len(expected)}
    scenario = recorded["straight-pass"][0]
    async with opened(target, settings_for(scenario, tmp_path, database_url=SecretStr(target))) as (runs, _):
        for thread, what in expected.items():
            assert (await runs.status(thread)).condition == "queued"
            await end(runs, thread, *what)


async def test_what_is_at_work_is_left_out(pair: list[str], tmp_path: Path, recorded: Recorded) -> None:
    source, target = pair
    expected = await fill(source, tmp_path, recorded, ["straight-pass"])
    busy = next(iter(expected))
    async with opened(source, at(source, tmp_path)) as (runs, _):
        (run,) = await runs.ledger.line(busy)
        assert await runs.ledger.claim(run.run_id, f"{machine()}/{os.getpid()}/x")
        assert await copied(source, target, tmp_path) == {"copied": len(expected) - 1, "at work": 1}
        settled = await runs.ledger.find(run.run_id)
        assert settled
        await runs.ledger.settle(settled, "queued")
    assert await copied(source, target, tmp_path) == {"there": len(expected) - 1, "copied": 1}


async def test_a_thread_that_moves_on_meanwhile_is_copied_again(
    pair: list[str], tmp_path: Path, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First once, so that the second copy holds; then always."""
    source, target = pair
    await fill(source, tmp_path, recorded, ["approval-given"])
    plain, moves = copying._copy_checkpoints, 1
    async with (
        opened(source, at(source, tmp_path)) as (old, _),
        opened(target, at(target, tmp_path)) as (new, saver),
    ):
        thread = (await old.waiting())[0].thread_id

        async def moving(source: Any, target: Any, copied: Any) -> None:
            nonlocal moves
            await plain(source, target, copied)
            if copied == thread and moves:
                moves -= 1
                await old.ledger.note("looked at", None, "", thread=thread)

        monkeypatch.setattr(copying, "_copy_checkpoints", moving)
        assert (await copied(source, target, tmp_path)).keys() == {"copied"}
        assert (await new.ledger.audit(thread))[0].kind == "looked at"
        assert len(await new.ledger.newest(thread, 10)) == 1  # nothing is left of the first copy

    target = f"sqlite:///{tmp_path}/another.db"
    async with (
        opened(source, at(source, tmp_path)) as (old, _),
        opened(target, at(target, tmp_path)) as (_, saver),
    ):
        moves = copying.TRIES
        assert (await copied(source, target, tmp_path))["at work"] == 1
        assert await saver.aget_tuple({"configurable": {"thread_id": thread}}) is None


async def test_the_audit_of_a_deleted_thread_is_copied_and_keeps_it_deleted(
    pair: list[str], tmp_path: Path, recorded: Recorded
) -> None:
    source, target = pair
    expected = await fill(source, tmp_path, recorded, ["straight-pass"])
    thread, other = list(expected)[1:3]
    async with (
        opened(source, at(source, tmp_path)) as (old, _),
        opened(target, at(target, tmp_path)) as (new, saver),
    ):
        await old.delete(thread)
        assert await copied(source, target, tmp_path) == {"copied": len(expected)}
        assert await new.ledger.audit(thread) == await old.ledger.audit(thread)
        assert (await new.ledger.audit(thread))[0].kind == "deleted"
        await new.delete(other)
        assert await copied(source, target, tmp_path) == {"there": len(expected) - 1, "differs": 1}
        assert await saver.aget_tuple({"configurable": {"thread_id": other}}) is None


@pytest.mark.parametrize("deleted", [False, True], ids=["copied", "copied and deleted"])
async def test_a_copy_that_was_taken_for_dead_leaves_the_other_ones_alone(
    *, deleted: bool, pair: list[str], tmp_path: Path, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was frozen while it copied: what another one has made of the thread stays when it wakes up."""
    source, target = pair
    expected = await fill(source, tmp_path, recorded, ["straight-pass"])
    plain, thread = copying._copy_checkpoints, sorted(expected)[1]  # the first one has no checkpoint yet
    monkeypatch.setattr(copying, "AT_ONCE", 1)

    async def frozen(old: Runs, new: Runs, now: Any) -> None:
        if now == thread:
            monkeypatch.setattr(copying, "_copy_checkpoints", plain)
            (reservation,) = await new.ledger.line(thread)
            await drop_reservation(new.ledger, reservation)  # as the other one does with those of the dead
            assert await copied(source, target, tmp_path) == {"there": 1, "copied": len(expected) - 1}
            if deleted:
                await new.delete(thread)
        await plain(old, new, now)

    monkeypatch.setattr(copying, "_copy_checkpoints", frozen)
    assert await copied(source, target, tmp_path) == {"copied": 1, "at work": 1, "there": len(expected) - 2}
    settings = settings_for(expected[thread][0], tmp_path, database_url=SecretStr(target))
    async with opened(target, settings) as (runs, saver):
        if deleted:
            assert await saver.aget_tuple({"configurable": {"thread_id": thread}}) is None
        else:
            await end(runs, thread, *expected[thread])


async def test_a_thread_that_went_on_in_the_target_is_left_alone(
    pair: list[str], tmp_path: Path, recorded: Recorded
) -> None:
    source, target = pair
    expected = await fill(source, tmp_path, recorded, ["straight-pass"])
    assert await copied(source, target, tmp_path) == {"copied": len(expected)}
    thread, what = list(expected.items())[1]
    async with opened(target, settings_for(what[0], tmp_path, database_url=SecretStr(target))) as (runs, _):
        await end(runs, thread, *what)
        ended = await runs.status(thread)
    assert await copied(source, target, tmp_path) == {"there": len(expected) - 1, "differs": 1}
    async with opened(target, at(target, tmp_path)) as (runs, _):
        assert await runs.status(thread) == ended


async def test_what_does_not_arrive_whole_is_no_copy(
    pair: list[str], tmp_path: Path, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pending writes are lost on the way: the verification finds that, and takes the copy back."""
    source, target = pair
    expected = await fill(source, tmp_path, recorded, ["straight-pass"])
    plain = copy_checkpoint

    async def without_writes(saver: Any, found: Any, to: Any, **_: Any) -> None:
        await plain(saver, found, to, with_writes=False)

    monkeypatch.setattr(copying, "copy_checkpoint", without_writes)
    outcomes = await copied(source, target, tmp_path)
    assert outcomes["failed"] > len(expected) // 2
    async with opened(target, at(target, tmp_path)) as (runs, _):
        assert len(await runs.threads(limit=1000)) < len(expected) - outcomes["failed"] + 1
    monkeypatch.undo()
    assert (await copied(source, target, tmp_path))["copied"] == outcomes["failed"]


async def test_a_sealed_source_and_a_plain_target(
    make_database: Callable[..., str], template: str, tmp_path: Path
) -> None:
    """What is sealed in PostgreSQL is opened for a file, and sealed again on its way back."""
    key = SecretStr(base64.b64encode(secrets.token_bytes(32)).decode())
    source, back = make_database(template), make_database(template)
    file = f"sqlite:///{tmp_path}/plain.db"
    scenario = next(scenario for scenario in scenarios() if scenario.name == "approval-given")
    settings = settings_for(scenario, tmp_path, database_url=SecretStr(source), checkpoint_key=key)
    async with opened(source, settings) as (runs, _):
        (asked,) = (await runs.start(scenario.input, thread="asks")).questions
    for old, new in ((source, file), (file, back)):
        done = await copy_threads(settings_at(settings, old), settings_at(settings, new), lambda _: None)
        assert done == {"copied": 1}
    async with opened(back, settings_at(settings, back)) as (runs, _):
        assert (await runs.waiting())[0].payload == asked.payload
        assert (await runs.answer("asks", "yes")).condition == "done"


async def test_killed_in_the_middle_and_started_again(
    make_database: Callable[..., str], template: str, tmp_path: Path, recorded: Recorded
) -> None:
    """SIGKILL, twice; the same command completes, and begins what was cut off anew."""
    source, target = f"sqlite:///{tmp_path}/0.db", make_database(template)
    expected = await fill(source, tmp_path, recorded)
    environment = {**os.environ, "DATA_DIR": str(tmp_path)}
    copy = "from acme_agent.cli import main; main()"
    command = [sys.executable, "-c", copy, "copy-threads", source, target]
    async with opened(target, at(target, tmp_path)) as (_, saver):
        for goal in (10, 60):  # threads after which it is killed
            process = await asyncio.create_subprocess_exec(*command, env=environment, cwd=tmp_path)
            deadline = time.monotonic() + BOUND
            while len(await list_threads(saver, 1000)) < goal:
                assert time.monotonic() < deadline
                assert process.returncode is None
            process.kill()
            assert await process.wait() == -signal.SIGKILL
        assert len(await list_threads(saver, 1000)) < len(expected)

    again = await asyncio.create_subprocess_exec(*command, env=environment, cwd=tmp_path)
    assert await again.wait() == 0
    assert await copied(source, target, tmp_path) == {"there": len(expected)}
    async with opened(target, at(target, tmp_path)) as (runs, _):
        for thread in expected:
            assert len(await runs.ledger.newest(thread, 10)) == 1
