"""R17: the database is updated at night, and in the morning every run that was under way has failed."""

from harness import Case, assert_fails, assert_holds

SAID = ("scenario straight-pass, whose database was away for 2.5 s, ends with DatabaseUnreachable",)
DRIVE = "values, snapshot = await held.carry_out(self._drive(held, config, listener, with_state))"
PATIENCE = "database_patience: float = Field(30.0"
PASSING = 'frozenset({"08", "40", "53", "57"})'


def test_a_patience_that_is_shorter_than_a_restart(postgres_case: Case) -> None:
    """It was set to see errors sooner."""
    postgres_case.replace("settings.py", PATIENCE, PATIENCE.replace("30.0", "1.0"))
    assert_fails(postgres_case, "R17", *SAID, scenario="straight-pass")


def test_only_collisions_are_tried_again(postgres_case: Case) -> None:
    """A connection that the server has closed is an error like others.

    Some templates hold one connection for the life of the process, which ends with the server's.
    """
    postgres_case.replace("persistence/postgres_retry.py", PASSING, 'frozenset({"40"})')
    # What a connection says that the server has closed has a code, or none if the last word was lost.
    lost = "return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)"
    postgres_case.replace("persistence/postgres_retry.py", lost, "return False")
    said = "scenario straight-pass, whose database was away for 2.5 s, ends with "
    assert_fails(postgres_case, "R17", said, scenario="straight-pass")


def test_a_run_has_no_time_for_a_restart(postgres_case: Case) -> None:
    """Each run gets two seconds, to keep a page from loading for ever."""
    postgres_case.replace(
        "runs/execution.py",
        DRIVE,
        f"async with asyncio.timeout(2):\n                        {DRIVE}",
    )
    said = "scenario straight-pass, whose database was away for 2.5 s, ends with TimeoutError"
    assert_fails(postgres_case, "R17", said, scenario="straight-pass")


def begin_anew(case: Case) -> Case:
    """Let a run begin anew once the database is back, with the input that is in its thread already."""
    again = f"""while True:
                        try:
                            {DRIVE}
                            break
                        except DatabaseUnreachable:
                            continue"""
    case.replace("settings.py", PATIENCE, PATIENCE.replace("30.0", "1.0"))
    return case.replace("runs/execution.py", DRIVE, again)


def test_an_input_that_is_given_again(postgres_case: Case) -> None:
    """One server of those that were looked at gives a run that it takes up again the original input."""
    assert_fails(begin_anew(postgres_case), "R17", "ran node plan 2 times, not 1", scenario="straight-pass")


def test_an_effect_that_happens_again(postgres_case: Case) -> None:
    """The node that began anew had told somebody already, and its key is another one each time."""
    returned = '    return {"searches": searches'
    tell = '    await asyncio.to_thread(notify, settings_of(runtime).data_dir, str(uuid4()), "planned")\n'
    begin_anew(postgres_case).replace("agent/search.py", returned, tell + returned)
    names, imported = "from uuid import uuid4\nfrom .outbox import notify\n", "from .model import"
    postgres_case.replace("agent/search.py", imported, names + imported)
    assert_fails(postgres_case, "R17", "has other effects", scenario="straight-pass")


def test_a_write_that_failed_is_passed_over(postgres_case: Case) -> None:
    """The node's work is what matters, somebody thought, and caught what the saver raises."""
    stored = "        await call.stored\n"
    passed = f"        try:\n    {stored}        except DatabaseUnreachable:\n            pass\n"
    postgres_case.replace("settings.py", PATIENCE, PATIENCE.replace("30.0", "1.0"))
    postgres_case.replace("persistence/postgres_commit.py", stored, passed)
    assert_fails(postgres_case, "R17", "away for 2.5 s, ends with citations None, not", scenario="straight-pass")


def test_a_run_is_given_up(postgres_case: Case) -> None:
    """It is settled as failed as soon as the database is back: somebody may ask again."""
    kept = """                except DatabaseUnreachable:
                    let_go(run.holder)
                    raise
"""
    given_up = """                except DatabaseUnreachable:
                    while True:
                        try:
                            return await self._settle(run, "failed", "the database was away"), None
                        except DatabaseUnreachable:
                            continue
"""
    postgres_case.replace("settings.py", PATIENCE, PATIENCE.replace("30.0", "1.0"))
    postgres_case.replace("runs/execution.py", kept, given_up)
    assert_fails(postgres_case, "R17", "is failed (the database was away), not done", scenario="straight-pass")


def test_a_file_that_is_not_waited_for(case: Case) -> None:
    """SQLite: a backup holds the file, and the run fails with "database is locked"."""
    timeout = "database_timeout: float = Field(8.0"
    case.replace("settings.py", timeout, timeout.replace("8.0", "1.0"))
    said = "scenario straight-pass, whose database was away for 2.5 s, ends with"
    assert_fails(case, "R17", said, scenario="straight-pass")


def test_a_shorter_patience_that_suffices(postgres_case: Case) -> None:
    """Near miss: ten seconds are less than we would take, and more than the restart."""
    postgres_case.replace("settings.py", PATIENCE, PATIENCE.replace("30.0", "10.0"))
    assert_holds(postgres_case, "R17", scenario="approval-given")


def test_a_pool_of_two(postgres_case: Case) -> None:
    """Near miss for this check: two connections are few, but they are made anew."""
    pool = "database_pool_max: int = Field(10"
    postgres_case.replace("settings.py", pool, pool.replace("10", "2"))
    assert_holds(postgres_case, "R17", scenario="straight-pass")


def test_a_file_that_is_waited_for(case: Case) -> None:
    """Near miss: six seconds are enough for SQLite."""
    timeout = "database_timeout: float = Field(8.0"
    case.replace("settings.py", timeout, timeout.replace("8.0", "6.0"))
    assert_holds(case, "R17", scenario="straight-pass")


def test_the_room_for_the_server_is_missing(postgres_case: Case) -> None:
    """A file is no stand-in for the server: the check says what it lacks, and does not hold by the file."""
    (postgres_case.package / "readiness" / "servers" / "postgres_outage.py").unlink()
    verdicts = postgres_case.verdicts(["R17"], scenario="straight-pass")
    assert verdicts.failing == {"R17"}
    assert "postgres_outage.py is missing" in verdicts.problems("R17")
