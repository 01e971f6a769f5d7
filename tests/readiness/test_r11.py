"""R11: two browser tabs post to one thread, and one of the two messages is gone without a word."""

from harness import Case, assert_fails, assert_holds

ACCEPT = "return await self._accept(dict(payload), thread_id(thread), mode, listener, queue=queue)"
LOCKED = """async with _locks.setdefault(thread, asyncio.Lock()):
            config = run_config(
                thread_id(thread), str(uuid4()), recursion_limit=self.settings.recursion_limit, graph_version="1"
            )
            await self._graph.ainvoke(dict(payload), config, context=self.settings, durability="sync")
        return await self.status(thread)"""
BUSY = "            raise errors.ThreadBusy(before[0])"
MODE = '    run_mode: Literal["reject", "enqueue", "interrupt"] = Field(\n        "enqueue"'


def with_mode(case: Case, mode: str) -> Case:
    """Set another default."""
    return case.replace("settings.py", MODE, MODE.removesuffix('"enqueue"') + f'"{mode}"')


def test_a_lock_of_one_process(case: Case) -> None:
    """The graph is called directly, under a lock that only this process knows.

    Of the templates that were looked at, several do so without any lock: two posts at once lost a message on each of
    20 threads.
    """
    case.replace("runs/runs.py", ACCEPT, LOCKED)
    case.replace("runs/runs.py", "import logging\n", "import asyncio\nimport logging\n")
    case.replace(
        "runs/runs.py", "import graph_version, project_version", "import graph_version, project_version, run_config"
    )
    case.replace("runs/runs.py", "logger = logging", "_locks: dict[str, asyncio.Lock] = {}\nlogger = logging")
    said = ("2 are accepted, and the ledger has 0 runs", "an accepted message is lost")
    also = {"R07"}  # the run's log lines have no thread id: nobody binds it any more
    assert_fails(case, "R11", *said, also=also, scenario="straight-pass")


def test_a_turn_that_is_not_waited_for(case: Case) -> None:
    """Who is second gets an error after a moment, and sends the input again; the run was accepted all the same."""
    wait = "turn = await self._line.wait(run)"
    case.replace("runs/runs.py", wait, f"async with asyncio.timeout(0.05):\n                {wait}")
    case.replace("runs/runs.py", "import logging\n", "import asyncio\nimport logging\n")
    assert_fails(case, "R11", "straight-pass, posted twice at once: TimeoutError", scenario="straight-pass")


def test_a_busy_thread_that_says_yes(case: Case) -> None:
    """A post to a busy thread is dropped, and whoever posted is shown the other one's run.

    One server of those that were looked at takes a strategy for this, and ignores it.
    """
    with_mode(case, "reject").replace("runs/runs.py", BUSY, "            return await self.status(thread)")
    said = ("2 are accepted, and the ledger has 1 runs", "an accepted message is lost")
    assert_fails(case, "R11", *said, scenario="straight-pass")


def test_a_run_that_has_waited_too_long_fails(case: Case) -> None:
    """Whoever is second is told yes, and the run is given up while the first one is at work."""
    wait = "            turn = await self._line.wait(run)\n"
    impatient = """            try:
                async with asyncio.timeout(0.05):
                    turn = await self._line.wait(run)
            except TimeoutError:
                await self.ledger.fail(run.run_id, "waited too long")
                return await self.status(run.thread_id)
"""
    case.replace("runs/runs.py", wait, impatient)
    case.replace("runs/runs.py", "import logging\n", "import asyncio\nimport logging\n")
    assert_fails(case, "R11", "a run is failed: waited too long", scenario="straight-pass")


def test_two_that_give_way_to_each_other(case: Case) -> None:
    """Each sees the other one, and is refused."""
    polite = """accepted, _ = await self.ledger.accept(
            str(uuid4()), thread_id(thread), dict(payload), mode="enqueue", **self._made_by
        )
        await asyncio.sleep(0.3)
        line = await self.ledger.line(thread)
        await asyncio.sleep(0.3)
        if len(line) > 1:
            await self.ledger.cancel(accepted.run_id, actor="politeness")
            raise errors.ThreadBusy(line[0])
        return await self._execute_in_turn(accepted, listener)"""
    case.replace("runs/runs.py", ACCEPT, polite)
    case.replace("runs/runs.py", "import logging\n", "import asyncio\nimport logging\n")
    verdicts = case.verdicts({"R11"}, scenario="straight-pass")  # each run begins late: only this check is asked
    assert "both are refused: ThreadBusy" in verdicts.problems("R11")


def test_a_post_that_is_accepted_twice(case: Case) -> None:
    """Who has to wait is put into the queue twice, and the messages have no reducer that would know an id again."""
    accept = "        accepted, before = await self.ledger.accept(run_id,"
    twice = f"        await self.ledger.accept(str(uuid4()), thread, payload, mode=mode)\n{accept}"
    case.replace("runs/runs.py", accept, twice)
    case.replace("agent/state.py", "add_messages]", "operator.add]")
    case.replace("agent/state.py", "from typing import", "import operator\nfrom typing import")
    verdicts = case.verdicts({"R11"}, scenario="straight-pass")  # R05, too, says what such a reducer does
    assert "an accepted message is there more than once" in verdicts.problems("R11")


def test_a_thread_for_one_post(case: Case) -> None:
    """There is nothing to be lost at once where a second turn is refused anyway: that is said, and is no pass."""
    once = "if await self.ledger.newest(thread_id(thread)):\n            raise errors.finished(thread_id(thread))\n"
    case.replace("runs/runs.py", ACCEPT, f"{once}        {ACCEPT}")
    verdicts = case.verdicts({"R11"}, scenario="straight-pass")  # nothing that plays two turns holds
    assert "posted twice, one after the other: {'refused': 'WrongRequest" in verdicts.problems("R11")


def test_a_busy_thread_that_says_no(case: Case) -> None:
    """Near miss: a post to a busy thread is refused with an error; what is lost is known to whoever posted."""
    assert_holds(with_mode(case, "reject"), "R11", scenario="straight-pass")


def test_a_newer_post_stops_the_older_run(case: Case) -> None:
    """Near miss: the older run is cancelled once its message is in the state."""
    verdicts = assert_holds(with_mode(case, "interrupt"), "R11", scenario="straight-pass")
    assert verdicts.checks["R11"]["looked_at"]["accepted posts"] == 20
