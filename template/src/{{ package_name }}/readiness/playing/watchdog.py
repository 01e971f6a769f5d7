"""A watchdog of the event loop: which line of the project it stood still in, and for how long.

A thread looks at the loop's thread every few milliseconds. As long as it sees the same frame of `Handle._run`, the loop
has not come back from that callback. Wall time would accuse innocent code on a busy machine, so it is not counted: a
look that finds the thread asleep, as in `time.sleep` or a socket, counts the pause since the last look, and not more of
it than the watchdog itself meant to sleep; a look that finds it at work counts the time that it had on a processor.
Garbage is not collected meanwhile: where a collection happens says nothing of the code there.
"""

import asyncio
import gc
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Self

from ..engine.check import Place
from ..source.nodes import PACKAGE

LOOK = 0.005  # seconds between two looks
ROOM = Path(__file__).parents[1]

_RUN: CodeType = asyncio.Handle._run.__code__  # noqa: SLF001 - the frame below every callback of the loop


@dataclass(frozen=True)
class Stall:
    """The loop stood still in a function of the project, or in what it called."""

    function: str
    place: Place
    seconds: float

    @property
    def where(self) -> tuple[Path, str]:
        """The function, whichever line of it."""
        return self.place.file, self.function


@dataclass
class _Callback:
    """One call of the loop, as far as it was seen."""

    frame: FrameType
    seconds: float = 0.0  # in the project
    at: Counter[tuple[CodeType, int]] = field(default_factory=Counter)  # how often it was seen in which line


class Watchdog:
    """Watches the loop of the thread that enters it. `stalls` are those longer than `limit` seconds."""

    def __init__(self, limit: float) -> None:
        """Watch from `with` on."""
        self.limit = limit
        self.looks = 0
        self.stalls: list[Stall] = []
        self._loop_thread = threading.current_thread()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._collects = gc.isenabled()

    def __enter__(self) -> Self:
        """Begin."""
        gc.disable()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._over.set()
        self._thread.join()
        if self._collects:
            gc.enable()

    def _watch(self) -> None:
        ident = self._loop_thread.ident or 0
        callback: _Callback | None = None
        before, worked = time.monotonic(), self._processor_time()
        while not self._over.wait(LOOK):
            self.looks += 1
            frames = _frames(sys._current_frames().get(ident))  # noqa: SLF001 - the only way to another thread's stack
            now, working = time.monotonic(), self._processor_time()
            spent = min(now - before, 2 * LOOK) if self._sleeps(working - worked) else working - worked
            before, worked = now, working
            if not frames or callback is None or frames[-1] is not callback.frame:
                self._judge(callback)
                callback = _Callback(frames[-1]) if frames else None
            elif at := _ours(frames):
                callback.seconds += spent
                callback.at[at] += 1
        self._judge(callback)

    def _judge(self, callback: _Callback | None) -> None:
        if callback and callback.seconds > self.limit:
            (code, line), _ = callback.at.most_common(1)[0]
            self.stalls.append(Stall(code.co_qualname, Place(Path(code.co_filename), line), callback.seconds))

    def _processor_time(self) -> float:
        if not hasattr(time, "pthread_getcpuclockid"):  # macOS: then all time counts
            return time.monotonic()
        return time.clock_gettime(time.pthread_getcpuclockid(self._loop_thread.ident or 0))

    def _sleeps(self, worked: float) -> bool:
        """Whether the thread waits for something else than a processor."""
        try:
            stat = Path(f"/proc/self/task/{self._loop_thread.native_id}/stat").read_text("utf-8")
        except OSError:  # no Linux: it had no time on a processor
            return worked < LOOK / 100
        return stat.rpartition(")")[2].split()[0] in {"S", "D"}


def _frames(frame: FrameType | None) -> list[FrameType]:
    """Return the frames of the callback that the loop is in, the innermost first; none if it is in no callback."""
    frames: list[FrameType] = []
    while frame:
        frames.append(frame)
        if frame.f_code is _RUN:
            return frames
        frame = frame.f_back
    return []


def _ours(frames: list[FrameType]) -> tuple[CodeType, int] | None:
    """Return the innermost line of the project, this room aside."""
    for frame in frames:
        file = Path(frame.f_code.co_filename)
        if file.is_relative_to(PACKAGE) and not file.is_relative_to(ROOM):
            return frame.f_code, frame.f_lineno
    return None
