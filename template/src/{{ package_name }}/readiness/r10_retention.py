"""R10 retention: what is over is forgotten, on schedule, and nothing else is."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from ..agent import AgentSettings, build_graph, checkpoint_types
from ..persistence import Retention, Rows, open_checkpointer, open_ledger, open_retention
from ..runs import Runs
from ..scenario import Scenario
from .engine.check import Check, Exam
from .playing.play import Played, play, settings_for
from .playing.wrapped import Wrapped
from .source.production_settings import refused
from .source.purge_schedules import WINDOW, schedules

WINDOW_DAYS = 30
PATIENCE = 30.0  # seconds until a run has come to its first node's checkpoint

CHECK = Check(
    id="R10",
    title="retention",
    holds="a deployment file starts `purge` on schedule with `AUDIT_WINDOW_DAYS`, and `purge`, run on threads of the"
    " agent on the production backend, deletes what ended before that window with all its rows, and keeps what is at"
    " work, what was cut off and what waits for an answer.",
    why="every superstep adds a copy of the state, so the tables only grow, and hold what people said for ever, until"
    " something deletes what is over and only that.",
    remedy="set `AUDIT_WINDOW_DAYS` where `purge` is started: in `deploy/purge-cronjob.yaml`, `deploy/purge.crontab` or"
    " beside `PURGE_SCHEDULE` of the workers. A file that was deleted comes back with `git restore`. What `purge`"
    " keeps is decided in `runs/retention.py`: mend a change there.",
    fact="of ten templates none deletes old checkpoints on schedule: in one the setting for it never reaches the"
    " checkpointer, in another the route that should delete is a stub that answers `cleared`. In a reported production"
    " database checkpoints were 572 MB, 40 % of the whole.",
    not_covered="whether the schedule was deployed and its job succeeds; schedules that no file of the project has (of"
    " GitLab or a cloud's console, systemd's timers, Helm's templates); data that the agent keeps elsewhere.",
)


def test_purge_is_scheduled(project: Path, exam: Exam) -> None:
    """Something that is deployed starts `purge` with a policy."""
    found, searched = schedules(project)
    exam.look("deployment files", searched)
    if not found:
        exam.find(f"no deployment file starts `purge` on schedule: nothing is ever deleted ({searched} were searched)")
    wrong: list[tuple[int, str]] = []
    for at, one in enumerate(found):
        exam.look("schedules")
        if one.why_not:
            wrong.append((at, f"{one.title} purges nothing: {one.why_not}"))
        elif one.window == "":
            wrong.append((at, f"{one.title} starts `purge` without AUDIT_WINDOW_DAYS: it keeps all threads for ever"))
        elif one.window is not None and (reason := refused(**{WINDOW: one.window})):
            wrong.append((at, f"{one.title} starts `purge` with AUDIT_WINDOW_DAYS={one.window}: {reason}"))
    if len(wrong) == len(found):  # a second schedule may be there for another purpose
        for at, text in wrong:
            exam.find(text, found[at].place)


async def test_purge_forgets_what_is_over(
    scenarios: list[Scenario], production_url: str, tmp_path: Path, exam: Exam
) -> None:
    """Of threads in each condition those that are over go, when the window is, and no row of another one."""
    url = production_url
    over = await _first(scenarios, ("done", "failed"), url, tmp_path / "over")
    if over is None:
        exam.find(f"none of {len(scenarios)} scenarios comes to an end: there is nothing to purge")
        return
    asking = [scenario for scenario in scenarios if scenario.answers]
    waiting = await _first(asking, ("waiting",), url, tmp_path / "waiting", answers=())
    cut_off = await play(over.scenario, tmp_path / "cut-off", url=url, wrap=_CutOff)
    held = _held()
    running = asyncio.create_task(play(over.scenario, tmp_path / "running", url=url, wrap=held))
    try:
        async with asyncio.timeout(PATIENCE):
            await held.reached.wait()
        kept = {held.thread: "at work", cut_off.thread: "cut off"}
        if waiting:
            kept[waiting.thread] = "waiting for an answer"
        exam.look("threads", len(kept) + 1)
        settings = settings_for(
            over.scenario,
            tmp_path,
            database_url=SecretStr(url),
            audit_window_days=WINDOW_DAYS,
            paused_ttl_days=None,
            history_keep=None,
        )
        await _purge(settings, url, over.thread, kept, exam)
    finally:
        held.go.set()
        ended = await running
    exam.require(
        ended.error is None,
        f"a run of scenario {over.scenario.name} that was at work during `purge` fails: {ended.error!r}",
    )


async def _purge(settings: AgentSettings, url: str, over: str, kept: dict[str, str], exam: Exam) -> None:
    async with open_checkpointer(url, settings=settings, types=checkpoint_types) as saver:
        graph = build_graph().compile(checkpointer=saver)
        retention = open_retention(url, saver)
        before = {thread: await retention.count(thread) for thread in [over, *kept]}
        async with Runs(graph, settings, open_ledger(saver)) as runs:
            now = datetime.now(UTC)
            for days in (WINDOW_DAYS - 1, WINDOW_DAYS + 1):
                await runs.purge(now=now + timedelta(days=days))
                for thread, condition in kept.items():
                    rows = await retention.count(thread)
                    exam.require(
                        rows == before[thread] or (condition == "at work" and rows.total > before[thread].total),
                        f"`purge` deleted {_lost(before[thread], rows)} of a thread that was {condition}, after"
                        f" {days} days, with AUDIT_WINDOW_DAYS={WINDOW_DAYS}",
                    )
                await _look_at_the_finished(retention, over, before[over], days, exam)


async def _look_at_the_finished(retention: Retention, thread: str, before: Rows, days: int, exam: Exam) -> None:
    rows = await retention.count(thread)
    if days < WINDOW_DAYS:
        exam.require(
            rows == before,
            f"`purge` deleted {_lost(before, rows)} of a finished thread after {days} days, with"
            f" AUDIT_WINDOW_DAYS={WINDOW_DAYS}",
        )
    else:
        exam.require(
            not rows.total,
            f"`purge` left {rows.total} of {before.total} rows of a finished thread after {days} days, with"
            f" AUDIT_WINDOW_DAYS={WINDOW_DAYS}",
        )


def _lost(before: Rows, rows: Rows) -> str:
    return f"{before.total - rows.total} of {before.total} rows"


async def _first(
    scenarios: list[Scenario],
    conditions: tuple[str, ...],
    url: str,
    folder: Path,
    **more: Any,  # Any: arguments of `play`
) -> Played | None:
    """Play scenarios until a thread is in one of these conditions, those that nobody has to answer first."""
    for number, scenario in enumerate(sorted(scenarios, key=lambda scenario: len(scenario.answers))):
        played = await play(scenario, folder / str(number), url=url, **more)
        if played.status and played.status.condition in conditions:
            return played
    return None


class _CutOff(Wrapped):
    """Stores nothing that the first node did, as if the process had died while it was at work."""

    step = -1

    async def aput(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:  # Any: Wrapped's
        """Fail where the first node is over."""
        if not config["configurable"].get("checkpoint_ns"):
            self.step = metadata.get("step", -1)
            if self.step >= 1:
                raise RuntimeError("cut off, to see what `purge` makes of the thread")
        return await super().aput(config, checkpoint, metadata, new_versions)

    async def aput_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:  # Any: as above
        """Lose what the first node did: `purge` would leave a thread with pending writes for another reason."""
        if self.step < 0:
            await super().aput_writes(config, writes, task_id, task_path)


class _Held(Wrapped):
    """Stops where the first node is over, until it may go on."""

    reached: asyncio.Event
    go: asyncio.Event
    thread: str

    async def aput(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:  # Any: Wrapped's
        """Wait where the first node is over."""
        if not config["configurable"].get("checkpoint_ns") and metadata.get("step", -1) >= 1:
            type(self).thread = config["configurable"]["thread_id"]
            self.reached.set()
            await self.go.wait()
        return await super().aput(config, checkpoint, metadata, new_versions)


def _held() -> type[_Held]:
    """Return a class of its own: `play` makes the checkpointer."""
    return type("_Held", (_Held,), {"reached": asyncio.Event(), "go": asyncio.Event(), "thread": ""})
