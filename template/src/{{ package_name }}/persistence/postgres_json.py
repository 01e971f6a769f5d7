"""What PostgreSQL's JSONB and text cannot hold: NUL, lone surrogates, and numbers such as nan.

Values of channels are not concerned: those that JSONB would change are stored as bytes. What is left are a checkpoint's
metadata and the names in it. Metadata is never worth a run: its text is scrubbed here, counted and logged, and its
numbers are written so that they read back equal. A name is refused: another one in its place would lose the state.
"""

import json
import logging
import math
import re
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointMetadata, get_serializable_checkpoint_metadata

from .errors import BadName
from .exact_text import has_surrogates, scrub

logger = logging.getLogger(__name__)

LOGGED = 1000  # threads that are remembered, so that each is logged once
FLOAT = "$float"  # {"$float": "nan"} stands for a number that JSON has no word for

_PLAIN = frozenset({str, int, bool, type(None)})
# As the standard library's encoder: what orjson would write in a way of its own goes there.
_STRICT = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS

_encode = json.JSONEncoder(allow_nan=False, check_circular=False, separators=(",", ":")).encode
_canonical = json.JSONEncoder(allow_nan=False, sort_keys=True, separators=(",", ":")).encode
_SUSPECT = re.compile(r"\\u(?:0000|d[89a-f])")  # in Python's ASCII whole characters beyond the basic plane match too


class Scrubbing:
    """Counts the texts that were changed in this process, and logs each thread's first."""

    def __init__(self) -> None:
        self.texts = 0
        self._logged: OrderedDict[tuple[str, str], None] = OrderedDict()

    def scrub(self, text: str, thread: str, where: str) -> str:
        """Return the text without what PostgreSQL refuses: a question mark for each such character."""
        clean = scrub(text).replace("\0", "?")
        if clean != text:
            self.note(thread, where)
        return clean

    def note(self, thread: str, where: str) -> None:
        """Count a text that was changed."""
        self.texts += 1
        if (thread, where) in self._logged:
            return
        self._logged[thread, where] = None
        if len(self._logged) > LOGGED:
            self._logged.popitem(last=False)
        logger.warning("thread %r: %s has characters that PostgreSQL cannot store; they were replaced", thread, where)


scrubbing = Scrubbing()


def encode(value: object) -> str:
    """Return a value without floats as JSON."""
    try:
        return orjson.dumps(value, option=_STRICT).decode()
    except orjson.JSONEncodeError:  # a lone surrogate, a key that is no text, a class derived from a plain one
        return _encode(value)


def canonical(text: str) -> str:
    """Return a JSON text in the form that does not change when it has been in a column of type JSONB."""
    return _canonical(json.loads(text))


def encode_names(columns: dict[str, Any]) -> str:
    """Return columns as JSON. Any: text and numbers. Raises BadName."""
    text = encode(columns)
    if _is_suspect(text):
        for name, value in columns.items():
            check_name(name, value)
    return text


def encode_checkpoint(columns: dict[str, Any], thread: str) -> str:
    """Return the columns of a checkpoint as JSON, its metadata scrubbed. Any: columns. Raises BadName."""
    try:
        text = (_encode if _has_floats(columns["metadata"]) else encode)(columns)
        if not _is_suspect(text):
            return text
    except ValueError:  # nan or inf, in the metadata
        pass
    checkpoint = columns["checkpoint"]
    for names in (checkpoint["channel_values"], checkpoint["channel_versions"], *checkpoint["versions_seen"].values()):
        for name in names:
            check_name("channel", name)
    for name in checkpoint["versions_seen"]:
        check_name("node", name)
    clean = partial(scrubbing.scrub, thread=thread, where="its metadata")
    return _encode({**columns, "metadata": _storable(columns["metadata"], clean)})


def metadata_of(config: RunnableConfig, metadata: CheckpointMetadata, thread: str) -> dict[str, Any]:
    """Return all metadata of a checkpoint, as LangGraph collects it. Any: what JSON can hold."""
    for more in (metadata, config.get("metadata"), config.get("configurable")):
        for value in (more or {}).values():
            if type(value) is str and "\0" in value:
                scrubbing.note(thread, "its metadata")  # LangGraph drops them, without a word
    return dict(get_serializable_checkpoint_metadata(config, metadata))


def searchable(value: object) -> object:
    """Return a filter by metadata, or metadata that is searched for, as it is stored."""
    return _storable(value, partial(scrubbing.scrub, thread="", where="a filter, or metadata that is searched for,"))


def restored(value: Any) -> Any:  # Any: what JSON can hold
    """Return stored metadata as it was."""
    if isinstance(value, dict):
        if len(value) == 1 and isinstance(number := value.get(FLOAT), str) and number in {"nan", "inf", "-inf"}:
            return float(number)
        return {key: restored(item) for key, item in value.items()}
    return [restored(item) for item in value] if isinstance(value, list) else value


def check_name(what: str, name: object) -> None:
    """Raise BadName for a name that PostgreSQL cannot hold."""
    if isinstance(name, str) and ("\0" in name or has_surrogates(name)):
        raise BadName(what, name)


def _has_floats(metadata: dict[str, Any]) -> bool:  # Any: what JSON can hold
    """Whether metadata may hold floats: orjson makes null of nan and inf, for which json raises ValueError."""
    return not all(
        type(value) in _PLAIN or (type(value) is dict and _PLAIN.issuperset(map(type, value.values())))
        for value in metadata.values()
    )


def _is_suspect(encoded: str) -> bool:
    """Whether a JSON text may hold what JSONB refuses: few do, and only those are walked through."""
    return "\\u" in encoded and _SUSPECT.search(encoded) is not None


def _storable(value: object, clean: Callable[[str], str]) -> object:
    """Return metadata as it is stored: `clean` text, and no numbers that JSON has no word for."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float) and not math.isfinite(value):
        return {FLOAT: repr(float(value))}
    if isinstance(value, dict):
        return {clean(key) if isinstance(key, str) else key: _storable(item, clean) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(item, clean) for item in value]
    return value
