"""The SQL of docs/worker.md, executed as an exporter would, on runs that wait, work, retry, ask and were abandoned."""

import re
from pathlib import Path
from typing import Any, LiteralString, cast

import psycopg
from acme_agent.runs.holder import new_holder
from plumbing.worker.crew import Client

PAGE = Path(__file__).parents[3] / "docs" / "worker.md"


def ask(connection: "psycopg.Connection[Any]", title: str) -> list[tuple[Any, ...]]:  # Any: columns
    """Return the rows of the block below the line that begins with these words."""
    text = PAGE.read_text("utf-8")
    blocks = dict(re.findall(r"^([^\n]+):\n\n```sql\n(.*?)```", text, re.DOTALL | re.MULTILINE))
    assert len(blocks) == text.count("```sql")
    (sql,) = [sql for line, sql in blocks.items() if line.startswith(title)]
    return connection.execute(cast("LiteralString", sql)).fetchall()


async def test_the_pages_metrics_tell_what_is_there(client: Client, connection: "psycopg.Connection[Any]") -> None:
    ((todo, seconds),) = ask(connection, "How many runs are due")
    assert (todo, seconds) == (0, 0)

    waits, later, works, dead, done = [await client.submit(f"t{number}") for number in range(5)]
    for run in (works, dead):
        assert await client.runs.ledger.claim(run, new_holder())
    await client.runs.execute(done)
    connection.execute("DELETE FROM procrastinate_jobs WHERE args ->> 'run_id' = ANY(%s)", ([works, dead, done],))
    past = "UPDATE agent_runs SET {} = {} - interval '1 minute' WHERE run_id = %s"
    connection.execute(past.format("changed_at", "changed_at"), (waits,))
    connection.execute(past.format("beat_at", "beat_at"), (dead,))
    connection.execute("UPDATE procrastinate_jobs SET scheduled_at = now() + interval '1 hour' WHERE id = 2")
    connection.execute("UPDATE agent_runs SET retries = 1, error = 'away' WHERE run_id = %s", (later,))
    connection.execute("INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now()), (now() - interval '1 day')")

    ((todo, seconds),) = ask(connection, "How many runs are due")
    assert todo == 1
    assert 60 <= seconds < 120
    assert {(row[0], row[1], row[3]) for row in ask(connection, "How many runs there are")} == {
        ("queued", 2, 0),
        ("running", 2, 1),
    }
    assert [row[:2] for row in ask(connection, "What ended")] == [("done", 1)]
    assert [(row[1], row[4], row[6]) for row in ask(connection, "Runs that were put back")] == [(later, 1, "away")]
    ((alive, _),) = ask(connection, "Workers")
    assert alive == 1
