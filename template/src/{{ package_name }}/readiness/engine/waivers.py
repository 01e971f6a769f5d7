"""Waivers: a check that a project does not keep for now, with a reason and a date, in its `pyproject.toml`.

[tool.readiness.waivers]
R09 = { reason = "the mailer has no keys yet, AGENT-12", until = 2027-03-31 }
"""

import datetime as dt
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ProjectError

LONGEST = dt.timedelta(days=366)


class BadWaiver(ProjectError):
    """A waiver that says too little, or for too long."""


@dataclass(frozen=True)
class Waiver:
    """Why a check need not hold, and until when, that day included."""

    reason: str
    until: dt.date


def settings_of(project: Path) -> Mapping[str, Any]:  # Any: what TOML can hold
    """Return the table `tool.readiness` of a project; empty if it has none."""
    file = project / "pyproject.toml"
    if not file.exists():
        return {}
    table: Mapping[str, Any] = tomllib.loads(file.read_text("utf-8")).get("tool", {}).get("readiness", {})
    return table


def waivers_of(project: Path, known: Iterable[str], today: dt.date) -> dict[str, Waiver]:
    """Return the waivers of a project by the check's id. Raises BadWaiver."""
    waivers = {}
    for id_, given in settings_of(project).get("waivers", {}).items():
        where = f"pyproject.toml: [tool.readiness.waivers] {id_}"
        if id_ not in set(known):
            raise BadWaiver(f"{where}: there is no such check: delete the line")
        if not isinstance(given, dict) or set(given) != {"reason", "until"}:
            raise BadWaiver(f'{where}: write {id_} = {{ reason = "...", until = {today + LONGEST / 4} }}')
        reason, until = given["reason"], given["until"]
        if not isinstance(reason, str) or not reason.strip():
            raise BadWaiver(f"{where}: the reason is empty: say why, and which ticket ends it")
        if not isinstance(until, dt.date) or isinstance(until, dt.datetime):
            raise BadWaiver(f"{where}: until is no date: write it without quotes, such as {today + LONGEST / 4}")
        if until < today:
            raise BadWaiver(f"{where}: it ran out on {until}: mend what it waives, or give a new reason and date")
        if until > today + LONGEST:
            raise BadWaiver(f"{where}: {until} is over a year away: {today + LONGEST} is the last day")
        waivers[id_] = Waiver(reason.strip(), until)
    return waivers
