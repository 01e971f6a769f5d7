"""A check of the standard: what it promises, and what it looks at and finds.

A check is a file `rNN_name.py` with a `CHECK` and tests that take the fixture `exam`. A test tells the exam what it
looks at, so that a check which looked at nothing fails, and what is wrong, so that one run finds all of it.
"""

import inspect
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Level = Literal["error", "warning"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """A promise of the standard. Its texts are the page `docs/standard.md`, and what a failure prints."""

    id: str  # such as R04; an organisation's own begin with another letter
    title: str
    holds: str  # what is true of a project that passes
    why: str  # in one sentence
    remedy: str  # the code or the command that mends it
    fact: str  # what was measured or read, and where
    not_covered: str  # what a project that passes may still do wrong
    level: Level = "error"


@dataclass(frozen=True)
class Place:
    """A line of a file."""

    file: Path
    line: int = 1

    @classmethod
    def of(cls, code: object) -> "Place | None":
        """Return where a function or a class is written; None if that is nowhere, as for what is built in."""
        try:
            plain = inspect.unwrap(code) if callable(code) else code
            file = inspect.getsourcefile(plain)  # type: ignore[arg-type] # a TypeError is what it says of other objects
            return cls(Path(file or ""), inspect.getsourcelines(plain)[1]) if file else None  # type: ignore[arg-type] # as above
        except (TypeError, OSError):
            return None


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, and where."""

    text: str
    place: Place | None = None


class Violated(Exception):
    """A check does not hold."""


@dataclass
class Exam:
    """What the tests of a check have looked at, and what they found."""

    check: Check
    looked_at: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)

    def look(self, what: str, number: int = 1) -> None:
        """Note that so many things, such as "nodes", are looked at."""
        self.looked_at[what] += number

    def find(self, text: str, place: Place | None = None) -> None:
        """Note something that is wrong; it is told with the check's remedy."""
        finding = Finding(text, place)
        if finding not in self.findings:
            self.findings.append(finding)

    def require(self, condition: object, text: str, place: Place | None = None) -> None:
        """Find `text` unless the condition holds."""
        if not condition:
            self.find(text, place)
