"""The pitfalls of procrastinate that the room's docstring lists, as far as they can occur here."""

import ast
import asyncio
import re
from pathlib import Path
from typing import Any

import acme_agent.worker
import psycopg
import pytest
from acme_agent.persistence import migrate
from acme_agent.settings import Settings
from acme_agent.worker import process, queue, tasks
from acme_agent.worker.connector import NEWS, PatientConnector
from acme_agent.worker.errors import BadSchedule, QueueMissing, QueueNeedsPostgres, QueueUnknown
from plumbing.worker.crew import Client, Crew, until

ROOM = Path(acme_agent.worker.__file__).parent


async def test_a_lost_notice_costs_a_second(
    client: Client, crew: Crew, database: str, connection: "psycopg.Connection[Any]"
) -> None:
    """Pitfall 6, what is left of it: the worker looks for itself."""
    connection.execute("ALTER TABLE procrastinate_jobs DISABLE TRIGGER procrastinate_jobs_notify_queue_job_inserted_v1")
    crew.start(database).ready()
    run = await client.submit("t")
    await client.until(run, "done", within=5)


async def test_what_came_while_nobody_listened_is_looked_for(
    client: Client, crew: Crew, database: str, connection: "psycopg.Connection[Any]"
) -> None:
    """Pitfall 6: its notice went to nobody, and the next look is far away."""
    ended = """
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND query LIKE 'LISTEN "procrastinate%'
    """
    crew.start(database, constants={"worker.process.POLL": 600.0, "worker.connector.PAUSE": 2.0}).ready()
    await client.until(await client.submit("first"), "done", within=10)
    await until(lambda: connection.execute(ended).fetchone())
    run = await client.submit("t")
    assert connection.execute(ended).fetchone() is None
    await client.until(run, "done", within=10)


async def test_what_came_while_it_was_looking_is_looked_for(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pitfall 6: after a look procrastinate forgets the notices that came during it."""
    connector = PatientConnector(client.runs)
    app = tasks.build_app(client.runs, connector)
    worker = await app.job_manager.register_worker()
    heard: list[str] = []

    async def hear(channel: str, payload: str) -> None:
        heard.append(payload)

    listener = asyncio.create_task(connector.listen_notify(hear, ["procrastinate_queue_v1#runs"]))
    await until(lambda: heard == [NEWS])
    look = connector._patiently
    runs: list[str] = []

    async def look_slowly(execute: Any) -> Any:
        row = await look(execute)
        if not runs:
            runs.append(await client.submit("t"))
            await until(lambda: len(heard) == 2)
        return row

    monkeypatch.setattr(connector, "_patiently", look_slowly)
    job = await app.job_manager.fetch_job([queue.QUEUE], worker)
    assert job
    assert job.task_kwargs == {"run_id": runs[0]}
    assert await app.job_manager.fetch_job([queue.QUEUE], worker) is None
    listener.cancel()


async def test_a_worker_whose_row_is_gone_ends_for_its_supervisor(
    client: Client, crew: Crew, database: str, connection: "psycopg.Connection[Any]"
) -> None:
    """Pitfall 9. The job that it could not take is another one's."""
    worker = crew.start(database).ready()
    await until(lambda: connection.execute("SELECT count(*) FROM procrastinate_workers").fetchone() == (2,))
    connection.execute("DELETE FROM procrastinate_workers")
    run = await client.submit("t")
    assert worker.ended() == 1
    assert "has ended (ForeignKeyViolation" in worker.log.read_text()
    crew.start(database).ready()
    await client.until(run, "done")


async def test_a_worker_that_is_blocked_loses_its_run_and_writes_nothing(
    client: Client, crew: Crew, database: str, tmp_path: Path
) -> None:
    """Pitfall 11: a node that blocks the event loop for longer than the lease."""
    impatient = {"runs.status.LEASE": 2.0, "runs.recovery.BEAT": 0.0, "worker.process.RECOVER": 0.2}
    blocked = crew.start(database).ready()
    run = await client.submit("t", b={"block": str(tmp_path / "gate")})
    await until(lambda: crew.journal.count(run, "b") == 1)
    other = crew.start(database, constants=impatient).ready()
    done = await client.until(run, "done")
    assert str(other.pid) in done.holder
    (tmp_path / "gate").touch()
    await until(lambda: "was overtaken" in blocked.log.read_text())
    assert await client.log("t") == ["a", "b", "c", "d"]
    assert {line["pid"] for line in crew.journal.lines() if line["node"] == "c"} == {other.pid}


async def test_the_dead_are_forgotten(client: Client, connection: "psycopg.Connection[Any]") -> None:
    """Jobs that a dead worker had, and its row; a living one's stay."""
    rows = "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '1 hour'), (now()) RETURNING id"
    dead, alive = (row[0] for row in connection.execute(rows).fetchall())
    job = "INSERT INTO procrastinate_jobs (queue_name, task_name, status, worker_id) VALUES ('runs', 'x', 'doing', %s)"
    for worker in (dead, alive, None):
        connection.execute(job, (worker,))
    app = tasks.build_app(client.runs, PatientConnector(client.runs))
    await asyncio.gather(*(tasks.forget_the_dead(app) for _ in range(3)))
    assert connection.execute("SELECT worker_id FROM procrastinate_jobs").fetchall() == [(alive,)]
    assert connection.execute("SELECT id FROM procrastinate_workers").fetchall() == [(alive,)]


async def test_a_worker_tidies_up_and_purges_on_schedule(
    client: Client, crew: Crew, database: str, connection: "psycopg.Connection[Any]"
) -> None:
    """Though a purge of many threads may be under way: they do not wait for each other."""
    connection.execute("INSERT INTO procrastinate_jobs (queue_name, task_name, status) VALUES ('runs', 'x', 'doing')")
    every_second = "* * * * * */1"
    plan: dict[str, Any] = {"PURGE_SCHEDULE": every_second, "AUDIT_WINDOW_DAYS": "0.000001"}
    crew.start(database, constants={"worker.tasks.TIDY": every_second}, **plan).ready()
    await client.until(await client.submit("old"), "done")
    await until(lambda: connection.execute("SELECT 1 FROM procrastinate_jobs WHERE task_name = 'x'").fetchone() is None)
    await until(lambda: connection.execute("SELECT 1 FROM checkpoints").fetchone() is None)


async def test_a_run_whose_job_was_lost_gets_one(client: Client, connection: "psycopg.Connection[Any]") -> None:
    """One that waits has one, and so has one that was just fetched; one that was fetched long ago has not."""
    lost, waits, fetched, forgotten = [await client.submit(f"t{number}") for number in range(4)]
    connection.execute("UPDATE agent_runs SET changed_at = changed_at - interval '1 minute'")
    connection.execute("DELETE FROM procrastinate_jobs WHERE args ->> 'run_id' = %s", (lost,))
    doing = "UPDATE procrastinate_jobs SET status = 'doing' WHERE args ->> 'run_id' = ANY(%s)"
    connection.execute(doing, ([fetched, forgotten],))
    past = "UPDATE procrastinate_events SET at = at - interval '1 minute' WHERE job_id = (SELECT id FROM "
    connection.execute(past + "procrastinate_jobs WHERE args ->> 'run_id' = %s)", (forgotten,))
    for _ in range(2):
        await tasks.knock_again(client.runs)
    query = "SELECT args ->> 'run_id' FROM procrastinate_jobs WHERE status = 'todo'"
    assert sorted(row[0] for row in connection.execute(query)) == sorted([lost, waits, forgotten])
    del fetched


async def test_a_lost_connection_ends_no_worker(client: Client, connection: "psycopg.Connection[Any]") -> None:
    """One failed statement would."""
    connector = PatientConnector(client.runs)
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> "
    for _ in range(2):
        assert await connector.execute_query_all_async("SELECT 1 AS one") == [{"one": 1}]
        connection.execute(others + "pg_backend_pid()")
        assert await connector.execute_query_one_async("SELECT 1 AS one") == {"one": 1}
        connection.execute(others + "pg_backend_pid()")
        await connector.execute_query_async("SELECT 1")
        connection.execute(others + "pg_backend_pid()")


async def test_a_job_is_made_though_its_first_connection_is_lost(
    client: Client, connection: "psycopg.Connection[Any]"
) -> None:
    """procrastinate hides the cause in an error of its own, by which the pool could not know that it passes."""
    run = await client.run(await client.submit("t"))
    connection.execute("DELETE FROM procrastinate_jobs")
    lost = False

    async def act(transaction: Any) -> None:
        nonlocal lost
        if not lost:
            lost = True
            connection.execute("SELECT pg_terminate_backend(%s)", (transaction.connection.info.backend_pid,))
        await queue.enqueue(transaction, run)

    await client.runs.ledger.store.transaction(act)
    assert lost
    assert connection.execute("SELECT count(*) FROM procrastinate_jobs").fetchone() == (1,)


async def test_a_job_and_its_run_are_committed_together(client: Client, connection: "psycopg.Connection[Any]") -> None:
    connection.execute("ALTER TABLE agent_runs ADD CHECK (thread_id <> 'bad')")
    with pytest.raises(psycopg.errors.CheckViolation):
        await client.submit("bad")
    assert connection.execute("SELECT count(*) FROM procrastinate_jobs").fetchone() == (0,)


def test_only_what_procrastinate_documents_is_used() -> None:
    """Pitfall 13."""
    documented = {"App", "PsycopgConnector", "ConnectorException", "Status", "SchemaManager"}
    for path in ROOM.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("procrastinate"):
                assert {name.name for name in node.names} <= documented, path
    assert not re.search(r"procrastinate_(any_)?queue_v", "".join(path.read_text() for path in ROOM.glob("*.py")))


async def test_a_sqlite_file_has_no_queue(tmp_path: Path) -> None:
    from acme_agent.agent import AgentSettings

    with pytest.raises(QueueNeedsPostgres, match="set DATABASE_URL to postgresql"):
        await process.work(AgentSettings(_env_file=None, data_dir=tmp_path), 1, lambda: None)


async def test_a_bad_schedule_is_refused(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = client.runs.settings.model_copy(update={"purge_schedule": "every night"})
    monkeypatch.setattr(client.runs, "settings", settings)
    with pytest.raises(BadSchedule, match="PURGE_SCHEDULE='every night'"):
        tasks.build_app(client.runs, PatientConnector(client.runs))


async def test_the_queue_is_migrated_once_and_looked_at_by_every_start(
    database: str, connection: "psycopg.Connection[Any]", settings: Settings, open_client: Any
) -> None:
    assert await migrate(database, settings=settings) == []
    connection.execute("DROP FUNCTION procrastinate_fetch_job_v2")
    with pytest.raises(QueueUnknown, match="another version of procrastinate"):
        await open_client(database)
    with pytest.raises(QueueUnknown, match="no run is lost"):
        await migrate(database, settings=settings)
    connection.execute("DROP TABLE procrastinate_events, procrastinate_periodic_defers, procrastinate_jobs CASCADE")
    with pytest.raises(QueueMissing, match="migrate"):
        await open_client(database)
