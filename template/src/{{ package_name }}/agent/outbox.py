"""Where answers and notices go: each once. Your own effect may be a ticket, a mail, an API call."""

import sqlite3
from contextlib import closing
from pathlib import Path


def publish(data_dir: Path, key: str, question: str, answer: str) -> None:
    """Store the answer under its idempotency key; a second call with the same key changes nothing."""
    with closing(_connect(data_dir)) as connection, connection:
        connection.execute("insert or ignore into published values (?, ?, ?)", (key, question, answer))


def published(data_dir: Path) -> list[str]:
    """Return the published answers, in order."""
    with closing(_connect(data_dir)) as connection:
        return [row[0] for row in connection.execute("select answer from published order by rowid")]


def notify(data_dir: Path, key: str, text: str) -> None:
    """Store a notice for whoever approves answers, under its idempotency key, as above."""
    with closing(_connect(data_dir)) as connection, connection:
        connection.execute("insert or ignore into notices values (?, ?)", (key, text))


def notices(data_dir: Path) -> list[str]:
    """Return the notices, in order."""
    with closing(_connect(data_dir)) as connection:
        return [row[0] for row in connection.execute("select text from notices order by rowid")]


def _connect(data_dir: Path) -> sqlite3.Connection:
    data_dir.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(data_dir / "outbox.db", timeout=60)
    connection.execute("create table if not exists published (key text primary key, question text, answer text)")
    connection.execute("create table if not exists notices (key text primary key, text text)")
    return connection
