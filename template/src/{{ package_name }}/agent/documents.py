"""The documents: a folder of Markdown and text files, cut into passages and indexed in SQLite FTS5.

The index is derived data: its file name is a hash of the folder's contents, so a changed folder gets a new index,
two processes that build the same one agree, and a crash leaves at worst a temporary file. The state holds passage ids
such as `runbook.md#3`, never text.
"""

import hashlib
import logging
import re
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ..errors import ProjectError
from .text import words

logger = logging.getLogger(__name__)

SUFFIXES = frozenset({".md", ".markdown", ".txt", ".rst"})
PASSAGE = 900  # characters at which a passage ends, at the next blank line
LARGEST_FILE = 5_000_000  # bytes; a larger file is a data file, not a document

_HEADING = re.compile(r"#{1,6}\s")


class NoDocuments(ProjectError):
    """There is nothing to answer from."""


@dataclass(frozen=True)
class Passage:
    """A piece of a document; `id` is the file's path below the folder, `#`, and the piece's number."""

    id: str
    text: str


@dataclass(frozen=True)
class Index:
    """An index that has been built. Its methods open a connection each, and block: run them in a thread."""

    path: Path

    def search(self, query: str, limit: int) -> list[str]:
        """Return the ids of the passages that share words with the query, best first."""
        terms = " OR ".join(f'"{word}"' for word in words(query))
        if not terms:
            return []
        sql = "select id from passages where passages match ? order by rank, id limit ?"
        with closing(self._connect()) as connection:
            return [row[0] for row in connection.execute(sql, (terms, limit))]

    def fetch(self, ids: list[str]) -> list[Passage]:
        """Return the passages with these ids, in this order; one that is gone from the documents is left out."""
        sql = "select text from passages where id = ?"
        with closing(self._connect()) as connection:
            found = ((id_, connection.execute(sql, (id_,)).fetchone()) for id_ in ids)
            return [Passage(id_, row[0]) for id_, row in found if row]

    def is_whole(self) -> bool:
        """Tell whether the index is there and can be read; one that a lost disk has damaged is built again."""
        try:
            with closing(self._connect()) as connection:
                return connection.execute("select 1 from passages limit 1").fetchone() is not None
        except sqlite3.DatabaseError:
            return False

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)


def open_index(docs: Path, data_dir: Path) -> Index:
    """Return the index of the folder `docs`, built in `data_dir` when its contents have changed.

    Raises NoDocuments when the folder is missing or holds nothing readable, ProjectError when `data_dir` is read-only.
    """
    if not docs.is_dir():
        raise NoDocuments(f"no folder of documents at {docs}: pass --docs DIR or set DOCS")
    files = sorted(path for path in docs.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    stamp = hashlib.sha256(str(docs.resolve()).encode())
    for path in files:
        stat = path.stat()
        stamp.update(f"{path.relative_to(docs)}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    index = Index(data_dir / "index" / f"{stamp.hexdigest()[:20]}.db")
    if not index.is_whole():
        _build(index.path, docs, files)
    return index


def _build(target: Path, docs: Path, files: list[Path]) -> None:
    passages = [passage for path in files for passage in _passages(path, path.relative_to(docs).as_posix())]
    if not passages:
        raise NoDocuments(f"no readable {', '.join(sorted(SUFFIXES))} file in {docs}: add documents or pass --docs DIR")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            draft = Path(folder, "index.db")
            with closing(sqlite3.connect(draft)) as connection, connection:
                connection.execute(
                    "create virtual table passages using fts5(id unindexed, text, tokenize='porter unicode61')"
                )
                rows = [(passage.id, passage.text) for passage in passages]
                connection.executemany("insert into passages(id, text) values (?, ?)", rows)
            draft.replace(target)  # atomic: another process sees a whole index or none
    except (OSError, sqlite3.OperationalError) as error:
        raise ProjectError(f"cannot write the document index in {target.parent}: {error}; set DATA_DIR") from error


def _passages(path: Path, name: str) -> list[Passage]:
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        logger.warning("skipped %s: not readable as UTF-8 text (%s)", name, type(error).__name__)
        return []
    if "\0" in text or len(data) > LARGEST_FILE:
        logger.warning(
            "skipped %s: %s", name, "holds NUL characters" if "\0" in text else f"over {LARGEST_FILE:,} bytes"
        )
        return []
    return [Passage(f"{name}#{number}", piece) for number, piece in enumerate(_pieces(text), start=1)]


def _pieces(text: str) -> list[str]:
    """Cut before headings, and at blank lines once a piece is long enough; a heading stays with what follows it."""
    pieces: list[str] = []
    current = ""
    for paragraph in re.split(r"\n\s*\n", text):
        if "\n" in current and (len(current) > PASSAGE or _HEADING.match(paragraph)):
            pieces.append(current)
            current = ""
        current = f"{current}\n\n{paragraph}".strip()
    return [piece for piece in [*pieces, current] if piece.strip("# \n")]
