"""The one way in: start a run, go on with it, answer it, look at it, end it."""

import logging
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from ..agent import AgentSettings
from ..persistence import Ledger, Mode, Run, open_retention
from . import errors
from .approvals import check_answer, chosen
from .compatibility import is_cut_short
from .config import graph_version, project_version
from .deletion import delete_thread
from .events import Event, Listener, Listeners
from .execution import Executor, Graph
from .forking import fork_thread
from .holder import claiming
from .keeper import Keeper
from .line import Line
from .looking import Looking
from .recovery import Recovered, look_after_questions, recover
from .replay import Replay
from .retention import Forgetting, Policy, Purged, PurgeListener
from .status import ThreadStatus, status_of_run
from .threads import ThreadId, thread_id

logger = logging.getLogger(__name__)


class Runs(Looking):
    """Runs on threads. A caller says what it wants; whether that means an input, None or a Command is decided here.

    What is accepted is in the ledger before anything is done, and stays there until it is done, failed or cancelled:
    whatever happens to this process, another one can go on. Methods that execute a run return when it is over, waits,
    or was handed over; with `queue` they return at once, and a worker executes it.
    """

    def __init__(self, graph: Graph, settings: AgentSettings, ledger: Ledger) -> None:
        """Take a graph that was compiled with a checkpointer, and its ledger; `open_runs` has the usual ones."""
        super().__init__(graph, ledger)
        self.settings = settings
        self.keeper = Keeper(ledger)
        self._executor = Executor(graph, settings, ledger, self.keeper)
        self._line = Line(ledger, settings.run_crash_limit)
        self._listeners = Listeners()
        self._made_by = {"graph_version": graph_version(graph), "release": project_version()}

    async def __aenter__(self) -> Self:
        """Begin; nothing is opened before a run is executed."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop keeping leases; the runs have ended by then."""
        await self.keeper.close()

    async def start(
        self,
        payload: Mapping[str, Any],
        *,
        thread: str,
        mode: Mode | None = None,
        queue: bool = False,
        listener: Listener | None = None,
    ) -> ThreadStatus:
        """Accept a run on a new input (Any: the graph's), and execute it when its turn comes.

        `thread` is an id of `new_thread_id`, or a thread that was there before. `mode` says what happens if another run
        of it is not over (default: RUN_MODE). Raises ThreadBusy with the mode `reject`, and WrongRequest when the
        thread waits for an answer: a new input would silently discard the question.
        """
        return await self._accept(dict(payload), thread_id(thread), mode, listener, queue=queue)

    async def resume(self, thread: str, *, queue: bool = False, listener: Listener | None = None) -> ThreadStatus:
        """Go on with a run that nobody executes any more, or that has failed on the way.

        Raises UnknownThread, or WrongRequest for a thread whose run is over, waits, or is at work.
        """
        id_ = thread_id(thread)
        status = await self.status(id_)
        run = status.run
        if status.expired:
            raise errors.finished(id_)
        match status.condition:
            case "waiting":
                raise errors.waiting(id_)
            case "running" if run:
                raise errors.at_work(run)
            case "cancelled":
                raise errors.cancelled(id_, status.error)
            case "done" if run or not await is_cut_short(self._graph, id_):
                raise errors.finished(id_)
            case "failed" if not status.next and not await is_cut_short(self._graph, id_):
                raise errors.finished(id_)
            case "failed" if run:
                run = await self.ledger.try_again(run.run_id, actor=self.settings.actor)
            case "unfinished" | "done" if run is None:  # checkpoints, and no run in the ledger: an import, a restore
                return await self._accept(None, id_, "reject", listener, queue=queue)
            case "unfinished" if run and queue:
                run = await self.ledger.requeue(run, crash_limit=self.settings.run_crash_limit)
            case _:
                pass
        if run is None:
            raise errors.moved(id_)
        if queue:
            return await self.status(id_)
        return await self._execute_in_turn(run, listener)

    async def answer(
        self,
        thread: str,
        value: object,
        *,
        question: str | None = None,
        actor: str | None = None,
        queue: bool = False,
        listener: Listener | None = None,
    ) -> ThreadStatus:
        """Answer a question of the thread: the one with the id `question`, or the one that has waited longest.

        The answer is stored, once, before the run goes on: a repeated one changes nothing. Raises UnknownThread, or
        WrongRequest if nothing is asked, or not that, or not any more, or if the answer does not fit the question.
        """
        id_ = thread_id(thread)
        await look_after_questions(self.ledger, self.settings)  # one that is too old is not answered any more
        asked = chosen(id_, await self.status(id_), question)
        check_answer(asked, value)
        before = await self.ledger.answer(asked, value, actor=actor or self.settings.actor)
        if before != "open":
            raise errors.answered(asked, before)
        run = await self.ledger.find(asked.run_id)
        if run is None or queue:
            return await self.status(id_)
        return await self._execute_in_turn(run, listener)

    async def replay(
        self,
        thread: str,
        checkpoint: str,
        patch: Mapping[str, Any] | None = None,
        *,
        as_node: str | None = None,
        queue: bool = False,
        listener: Listener | None = None,
    ) -> ThreadStatus:
        """Go on from an earlier checkpoint, with `patch` (Any: values of the state) applied to it.

        `as_node` names the node whose writes the patch stands for; its edges decide what comes next. Raises
        WrongRequest for a checkpoint of another thread, an unknown key or node, and what `start` raises.
        """
        id_ = thread_id(thread)
        await self._check_checkpoint(id_, checkpoint)
        errors.check_patch(self._graph, patch, as_node)
        return await self._accept(Replay(checkpoint, patch, as_node).pack(), id_, "reject", listener, queue=queue)

    async def fork(self, thread: str, checkpoint: str | None = None, *, to: str) -> ThreadStatus:
        """Copy a thread, up to a checkpoint or as a whole, into the new thread `to`. The old one stays as it is.

        With a checkpoint nothing newer is read, which may be damaged. Raises UnknownThread, or WrongRequest for a
        checkpoint of another thread, or if there is a thread `to`.
        """
        id_, new = thread_id(thread), thread_id(to)
        if checkpoint is None:
            await self.status(id_)
        else:
            await self._check_checkpoint(id_, checkpoint)
        await fork_thread(self._checkpointer, self.keeper, id_, checkpoint, new)
        return await self.status(new)

    async def cancel(self, thread: str, *, run: str | None = None, actor: str | None = None) -> list[Run]:
        """Cancel a run of the thread, or all that are not over, and return them as they are then.

        Who executes one stops at once; should it not hear of it, its next write is refused. Raises UnknownThread.
        """
        id_ = thread_id(thread)
        line = [found for found in await self.ledger.line(id_) if run in {None, found.run_id}]
        if not line:
            await self.status(id_)
        who = actor or self.settings.actor
        moved = [await self.ledger.cancel(found.run_id, actor=who) for found in line]
        return [found for found in moved if found]

    async def delete(self, thread: str, *, actor: str | None = None) -> None:
        """Cancel the thread's runs, then delete it. Its audit stays. Raises UnknownThread."""
        id_ = thread_id(thread)
        await self.status(id_)
        await delete_thread(self._checkpointer, self.keeper, id_, actor or self.settings.actor)

    def events(self, run: str) -> AsyncIterator[Event]:
        """Yield what a run does, from now until it is over or waits; nodes and text if this process executes it."""
        return self._listeners.follow(run, self.ledger)

    async def execute(self, run: str, *, retry: bool = False) -> Run | None:
        """Execute a queued run by its id; None if it is not queued, or not its turn. For workers.

        With `retry` it goes back into the queue after an error, which is raised.
        """
        with claiming() as holder:
            claimed = await self.ledger.claim(run, holder)
        if claimed is None:
            return None
        settled, _ = await self._executor.execute(
            claimed, self._listeners.of(claimed, None), retry=retry, with_state=False
        )
        return settled

    async def recover(self) -> Recovered:
        """Put runs whose process has died back into the queue, and look after the open questions; see `recovery`."""
        return await recover(self.ledger, self.settings)

    async def purge(
        self,
        *,
        dry_run: bool = False,
        archive: Path | None = None,
        now: datetime | None = None,
        listener: PurgeListener | None = None,
    ) -> Purged:
        """Apply the policy of the settings to every thread and return what was done; see `retention`.

        Questions that nobody answered in time are looked after before that, as APPROVAL_EXPIRY says.

        `archive` is a folder that gets each thread as a file before it is deleted. `now` is another time to judge by.
        """
        retention = open_retention(self.settings.checkpoint_url, self._checkpointer)
        if not dry_run:
            await look_after_questions(self.ledger, self.settings)
        forgetting = Forgetting(
            self._graph,
            self._checkpointer,
            retention,
            self.keeper,
            Policy.of(self.settings),
            dry_run=dry_run,
            archive=archive,
        )
        done = await forgetting.purge(now or datetime.now(UTC), listener or (lambda _: None))
        if not dry_run:
            await self.ledger.note("purged", None, str(done), actor=self.settings.actor)
        return done

    async def restore(self, file: Path) -> ThreadId:
        """Bring an archived thread back. Raises ArchiveDamaged, ArchiveUnknown or ThreadExists."""
        thread, rows = await open_retention(self.settings.checkpoint_url, self._checkpointer).restore(file)
        logger.info("thread %s restored: %d rows", thread, rows.total)
        await self.ledger.note("restored", None, f"from {file}", actor=self.settings.actor, thread=thread)
        return ThreadId(thread)

    async def _accept(
        self, payload: object, thread: ThreadId, mode: Mode | None, listener: Listener | None, *, queue: bool
    ) -> ThreadStatus:
        run_id = str(uuid4())
        if not queue:
            with claiming() as holder:
                run = await self.ledger.begin(run_id, thread, payload, holder=holder, **self._made_by)
            if run:
                return await self._execute(run, listener)
        for other in await self.ledger.line(thread):
            if other.status == "waiting":
                raise errors.waiting(thread)
        mode = mode or self.settings.run_mode
        accepted, before = await self.ledger.accept(run_id, thread, payload, mode=mode, **self._made_by)
        if accepted is None:
            raise errors.ThreadBusy(before[0])
        if queue:
            return status_of_run(accepted, None, behind=0)
        return await self._execute_in_turn(accepted, listener)

    async def _execute_in_turn(self, run: Run, listener: Listener | None) -> ThreadStatus:
        """Wait until the run can be claimed, execute it, or follow whoever does."""
        while True:
            turn = await self._line.wait(run)
            if turn.ours is None:
                return await self.status(run.thread_id)
            if turn.ours.run_id == run.run_id:
                return await self._execute(turn.ours, listener)
            await self._executor.execute(turn.ours, self._listeners.of(turn.ours, None), with_state=False)

    async def _execute(self, run: Run, listener: Listener | None) -> ThreadStatus:
        settled, snapshot = await self._executor.execute(run, self._listeners.of(run, listener))
        if snapshot is not None and settled.status == "queued":  # it asks, and has been answered already
            return await self._execute_in_turn(settled, listener)
        if snapshot is None or settled.status == "waiting":
            return await self.status(run.thread_id)
        return status_of_run(settled, snapshot)
