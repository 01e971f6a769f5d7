"""Encryption at rest: with a key every value in the database is sealed, and only ids and names are left to read.

AES-256 in GCM, with a key of its own for each thread (HKDF over the thread's id) and a random nonce: that is safe for
2^32 values of a thread, not of a database. A seal covers the place of its row: what was moved to another thread,
namespace, channel or version, or changed in any column that the program goes by, does not open. The seal of a
checkpoint also lists the channels that have values, so a row that was deleted is missed.

What no seal shows: that the newest checkpoints were deleted as a whole; which checkpoint is whose parent, which pruning
changes; the order of pending writes. Anybody who reads the database still sees ids, the names of channels and nodes,
times, sizes, and the metadata that is searched for.
"""

import base64
import binascii
import hashlib
import json
import secrets
from collections.abc import Collection, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ..settings import Settings
from .errors import BadCheckpointKey, NotSealed, SealBroken, SealedElsewhere
from .postgres_json import canonical, encode
from .postgres_seal_marks import SEALED, SEALED_METADATA, key_in

KEY = 32  # bytes
NONCE = 12  # bytes
LEAST_DIFFERENT = 12  # bytes, or steps from one to the next: of 32 random ones never less
SUBKEYS = 1024  # threads whose keys are remembered

Json = dict[str, Any]  # Any: what JSON can hold
Place = tuple[str | int, ...]
"""A row: its table and the columns that the seal covers."""


class Sealing:
    """Seals with the first key, and opens what any of the keys sealed."""

    def __init__(self, keys: Sequence[bytes], *, reads_plaintext: bool = False) -> None:
        self.reads_plaintext = reads_plaintext
        self._keys = {_key_id(key): key for key in keys}
        self._current = next(iter(self._keys))
        self._cipher = lru_cache(maxsize=SUBKEYS)(self._thread_cipher)

    def seal(self, thread: str, place: Place, kind: str, value: bytes) -> tuple[str, bytes]:
        """Return a value's type and bytes as they are stored."""
        mark = f"{SEALED}{self._current}"
        nonce = secrets.token_bytes(NONCE)
        content = b"%b\0%b" % (kind.encode(), value)
        return mark, nonce + self._cipher(self._current, thread).encrypt(nonce, content, _context(mark, place))

    def open(self, thread: str, place: Place, mark: str, sealed: bytes) -> tuple[str, bytes]:
        """Return the type and bytes of a value. Raises NotSealed, SealedElsewhere or SealBroken."""
        key = key_in(mark)
        if not key:
            if self.reads_plaintext:
                return mark, sealed
            raise NotSealed(thread)
        if key not in self._keys:
            raise SealedElsewhere(thread, key, tuple(self._keys))
        try:
            content = self._cipher(key, thread).decrypt(sealed[:NONCE], sealed[NONCE:], _context(mark, place))
        except (InvalidTag, ValueError):
            raise SealBroken(thread, _describe(place)) from None
        kind, _, value = content.partition(b"\0")
        return kind.decode(), value

    def seal_metadata(
        self, thread: str, place: Place, checkpoint: str, *, clear: Json, hidden: Json, channels: Sequence[str]
    ) -> Json:
        """Return metadata as it is stored, sealed with the checkpoint's JSON and its `channels` that have values."""
        covered = (*place, canonical(checkpoint), canonical(encode(clear)))
        content = json.dumps({"metadata": hidden, "channels": sorted(channels)}).encode()
        mark, sealed = self.seal(thread, covered, "json", content)
        return {**clear, SEALED_METADATA: f"{mark}:{base64.b64encode(sealed).decode()}"}

    def open_metadata(
        self, thread: str, place: Place, checkpoint: Json, metadata: Json, channels: Collection[str]
    ) -> Json:
        """Return metadata as it was; `channels` are those whose values were found. Raises as `open`."""
        clear = dict(metadata)
        mark, _, sealed = str(clear.pop(SEALED_METADATA, "")).partition(":")
        if not mark and self.reads_plaintext:
            return metadata
        covered = (*place, canonical(encode(checkpoint)), canonical(encode(clear)))
        try:
            content = base64.b64decode(sealed, validate=True)
        except binascii.Error:
            raise SealBroken(thread, _describe(place)) from None
        opened = json.loads(self.open(thread, covered, mark, content)[1])
        for channel in opened["channels"]:
            if channel not in channels:
                raise SealBroken(thread, f"channel {channel!r}")
        return {**clear, **opened["metadata"]}

    def _thread_cipher(self, key: str, thread: str) -> AESGCM:
        info = b"langgraph checkpoints of thread " + thread.encode()
        return AESGCM(HKDF(algorithm=SHA256(), length=KEY, salt=None, info=info).derive(self._keys[key]))


def open_sealing(settings: Settings) -> Sealing:
    """Return the sealing that the settings ask for. Raises BadCheckpointKey."""
    keys = [_key("CHECKPOINT_KEY", settings.checkpoint_key.get_secret_value())]
    former = settings.checkpoint_key_old.get_secret_value()
    keys += [_key("CHECKPOINT_KEY_OLD", text) for text in former.split(",") if text.strip()]
    return Sealing(keys, reads_plaintext=settings.checkpoint_plaintext == "read")


def _key(name: str, text: str) -> bytes:
    try:
        key = base64.b64decode(text.strip().replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        raise BadCheckpointKey(name, "is not base64") from None
    if len(key) != KEY:
        raise BadCheckpointKey(name, f"has {len(key)} bytes, not {KEY}")
    steps = {(after - before) % 256 for before, after in pairwise(key)}
    printable = all(32 <= byte < 127 for byte in key)  # 32 random bytes are so once in 10^13
    if len(set(key)) < LEAST_DIFFERENT or len(steps) < LEAST_DIFFERENT or printable:
        raise BadCheckpointKey(name, "is not random: a pattern, or a text that somebody thought of")
    return key


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"id of a langgraph checkpoint key" + key).hexdigest()[:8]


def _context(mark: str, place: Place) -> bytes:
    return json.dumps([mark, *place]).encode()


def _describe(place: Place) -> str:
    table, namespace = place[0], place[2]
    if table == "checkpoints":
        name = f"checkpoint {place[3]}"
    else:
        name = f"channel {place[3]!r}" if table == "checkpoint_blobs" else f"pending write to {place[-1]!r}"
    return f"{name} in {namespace!r}" if namespace else name
