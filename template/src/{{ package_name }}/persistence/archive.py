"""A thread as one file of JSON Lines: what `purge --archive` writes before it deletes, and `restore` reads back.

The first line is the header: the format's version, the thread's id, the schema's version and how many rows of each
table follow. Then comes one row a line, as the database holds it: JSONB as its own text and bytes in base64, so that
what is encrypted stays so. The last line has the SHA-256 of all bytes before it: a file that lacks it is damaged.

A file is complete or absent: it is written under another name, flushed to the disk and renamed.
"""

import asyncio
import base64
import hashlib
import json
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote
from uuid import uuid4

from .errors import ArchiveDamaged, ArchiveUnknown

FORMAT = "langgraph-thread"
VERSION = 1
CHUNK = 1_000_000  # bytes of rows that are held in memory at a time; a larger row comes alone
LONGEST_NAME = 150  # characters of a thread's id in a file name; a file system takes 255 bytes for the whole

Row = Mapping[str, str | int | bytes | None]
"""A row as the database holds it."""


@dataclass(frozen=True)
class Header:
    """What a file promises: `rows` counts the rows of each table by its name."""

    thread_id: str
    head: str  # the newest checkpoint
    schema: int
    rows: dict[str, int]


def archive_name(thread: str, head: str) -> str:
    """Return the file's name: safe for any thread id, and another one for each state that the thread ever ended in."""
    name = quote(thread, safe="").replace("~", "%7E")
    if name.startswith("."):  # a hidden file would be forgotten
        name = f"%2E{name[1:]}"
    if len(name) > LONGEST_NAME:
        name = f"{name[:LONGEST_NAME]}-{hashlib.sha256(thread.encode()).hexdigest()[:16]}"
    return f"{name}.{quote(head, safe='')[: LONGEST_NAME // 2]}.jsonl"


class ArchiveWriter:
    """Writes the lines of one file. Memory: the rows of one call."""

    def __init__(self, file: IO[bytes], header: Header) -> None:
        """Write the header."""
        self._file = file
        self._digest = hashlib.sha256()
        self._line({"format": FORMAT, "version": VERSION, **header.__dict__})

    def rows(self, table: str, rows: Iterable[Row]) -> None:
        """Write rows of a table."""
        for row in rows:
            self._line({"table": table, "row": {column: _to_json(value) for column, value in row.items()}})

    def end(self) -> None:
        """Write the digest."""
        self._line({"sha256": self._digest.hexdigest()})

    def _line(self, fact: Mapping[str, Any]) -> None:  # Any: what JSON can hold
        line = json.dumps(fact, ensure_ascii=False).encode() + b"\n"
        self._digest.update(line)
        self._file.write(line)


@asynccontextmanager
async def new_archive(path: Path, header: Header) -> AsyncIterator[ArchiveWriter]:
    """Yield a writer; the file appears under its name when the block ends well, and not at all when it fails."""
    await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
    unfinished = path.with_name(f".{uuid4().hex}.unfinished")  # of its own: two purges may archive the same thread
    try:
        with await asyncio.to_thread(unfinished.open, "xb") as file:
            writer = ArchiveWriter(file, header)
            yield writer
            writer.end()
            file.flush()
            await asyncio.to_thread(os.fsync, file.fileno())
        await asyncio.to_thread(unfinished.replace, path)
        await asyncio.to_thread(_fsync_folder, path.parent)
    finally:
        await asyncio.to_thread(unfinished.unlink, missing_ok=True)


def check_archive(path: Path) -> Header:
    """Read the whole file and return its header. Raises ArchiveUnknown or ArchiveDamaged."""
    header = _header(path)
    found = dict.fromkeys(header.rows, 0)
    digest, promised = hashlib.sha256(), ""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if promised:
                raise ArchiveDamaged(path, f"line {number} comes after its end")
            fact = _parse(path, number, line)
            if "sha256" in fact:
                promised = fact["sha256"]
                continue
            digest.update(line)
            if number > 1:
                found[fact.get("table", "")] = found.get(fact.get("table", ""), 0) + 1
    if not promised:
        raise ArchiveDamaged(path, "its end is missing")
    if promised != digest.hexdigest() or found != header.rows:
        raise ArchiveDamaged(path, "its lines are not those that were written")
    return header


def archived_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Yield the rows of a file that `check_archive` has read, each with its table's name."""
    with path.open("rb") as file:
        for line in file:
            fact = json.loads(line)
            if "row" in fact:
                yield fact["table"], {column: _from_json(value) for column, value in fact["row"].items()}


def archived_chunks(path: Path) -> Iterator[tuple[str, list[Row]]]:
    """Yield these rows in chunks, each of one table."""
    chunk: list[Row] = []
    size, of = 0, ""
    for table, row in archived_rows(path):
        if chunk and (size > CHUNK or table != of):
            yield of, chunk
            chunk, size = [], 0
        chunk.append(row)
        size += size_of(row)
        of = table
    if chunk:
        yield of, chunk


def size_of(row: Row) -> int:
    """Return the bytes that a row takes in memory, roughly."""
    return sum(len(value) for value in row.values() if isinstance(value, (str, bytes)))


def _header(path: Path) -> Header:
    with path.open("rb") as file:
        fact = _parse(path, 1, file.readline())
    if fact.get("format") != FORMAT:
        raise ArchiveDamaged(path, "it does not begin as an archived thread")
    if fact.get("version") != VERSION:
        raise ArchiveUnknown(path, f"format {fact.get('version')}, and this program reads {VERSION}")
    try:
        return Header(fact["thread_id"], fact["head"], fact["schema"], fact["rows"])
    except KeyError as error:
        raise ArchiveDamaged(path, f"its header has no {error}") from None


def _parse(path: Path, number: int, line: bytes) -> dict[str, Any]:  # Any: what JSON can hold
    try:
        fact = json.loads(line)
    except ValueError:
        raise ArchiveDamaged(path, f"line {number} is no JSON") from None
    if not isinstance(fact, dict):
        raise ArchiveDamaged(path, f"line {number} is no object")
    return fact


def _to_json(value: str | int | bytes | None) -> str | int | dict[str, str] | None:
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _from_json(value: str | int | dict[str, str] | None) -> str | int | bytes | None:
    return base64.b64decode(value["base64"]) if isinstance(value, dict) else value


def _fsync_folder(folder: Path) -> None:
    """Make the rename itself durable; the thread is deleted after it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
