"""What a diagnosis is made of."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from ..errors import ProjectError
from ..settings import redact

Level = Literal["ok", "warning", "wrong"]


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is, and what was found or how to mend it."""

    subject: str
    level: Level
    text: str

    @property
    def fact(self) -> dict[str, Any]:  # Any: what JSON can hold
        """The finding as plain data."""
        return {"subject": self.subject, "ok": self.level != "wrong", "level": self.level, "text": self.text}


def fine(subject: str, text: str) -> Finding:
    """Return a finding that nobody has to do anything about."""
    return Finding(subject, "ok", text)


def because(level: Level, text: str) -> Finding:
    """Return the cause that was looked for."""
    return Finding("cause", level, text)


def wrong(text: str) -> Finding:
    """Return a cause that somebody has to mend."""
    return because("wrong", text)


def unusable(error: ProjectError) -> Finding:
    """Return the finding for a database that does not answer, or not as it should."""
    return Finding("database", "wrong", redact(str(error)))


def lasted(seconds: float) -> str:
    """Return a time in words."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def since(moment: datetime, ahead: float = 0.0) -> float:
    """Return the seconds since a time of the database, whose clock is `ahead` of this machine's."""
    return datetime.now(UTC).timestamp() + ahead - moment.timestamp()


def clock_time(moment: datetime) -> str:
    """Return a time as every list here shows it."""
    return moment.astimezone(UTC).isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")
