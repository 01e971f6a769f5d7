"""What came of the checks: a verdict for each, from the reports of its tests."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .check import Check
from .waivers import Waiver

Outcome = Literal["holds", "fails", "warns", "waived", "not run"]


@dataclass(frozen=True)
class Told:
    """What is wrong, as a test told it: the file from the project's folder, a line from one; 0 is no line."""

    text: str
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        """Return it with its place in front."""
        return f"{self.file}:{self.line}: {self.text}" if self.file else self.text


@dataclass
class Verdict:
    """A check, and what its tests said."""

    check: Check
    tests: int = 0
    skipped: int = 0
    seconds: float = 0.0
    looked_at: Counter[str] = field(default_factory=Counter)
    told: list[Told] = field(default_factory=list)
    waiver: Waiver | None = None

    def add(self, facts: Mapping[str, Any]) -> None:
        """Add what a test said. Any: what JSON can hold; see `plugin`."""
        self.tests += 1
        self.skipped += bool(facts["skipped"])
        self.seconds += facts["seconds"]
        self.looked_at.update(facts["looked_at"])
        self.told += [Told(*found) for found in facts["told"]]

    @property
    def problems(self) -> list[Told]:
        """What is wrong, each thing once. That nothing was looked at is wrong, too."""
        if not self.told and self.tests and not self.looked_at.total() and self.skipped < self.tests:
            return [Told("it looked at nothing, so it says nothing about this project")]
        return list(dict.fromkeys(self.told))

    @property
    def outcome(self) -> Outcome:
        """Whether the check holds; `not run` if all its tests were skipped, or none was chosen."""
        if self.problems:
            return "waived" if self.waiver else "fails" if self.check.level == "error" else "warns"
        return "not run" if self.skipped >= self.tests else "holds"

    @property
    def idle_waiver(self) -> bool:
        """Whether there is a waiver, and nothing to be waived."""
        return self.waiver is not None and self.outcome == "holds"


def failed(verdicts: Iterable[Verdict]) -> bool:
    """Return whether any check fails."""
    return any(verdict.outcome == "fails" for verdict in verdicts)
