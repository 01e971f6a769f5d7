"""The verdicts as people and machines read them: a table, Markdown, annotations, JSON, SARIF, JUnit."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from rich.console import Console
from rich.table import Table

from ...errors import PROGRAM
from .verdicts import Told, Verdict

PAGE = "docs/standard.md"
_SARIF = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {"fails": "error", "warns": "warning", "waived": "note"}
_COLOURS = {"holds": "green", "fails": "bold red", "warns": "yellow", "waived": "yellow", "not run": "dim"}


def write(form: str, verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts in one of FORMATS, with a line's end at the end."""
    return FORMATS[form](verdicts).rstrip("\n") + "\n"


def _table(verdicts: Sequence[Verdict]) -> str:
    table = Table(box=None, pad_edge=False)
    for name, right in (("id", False), ("check", False), ("result", False), ("looked at", False), ("s", True)):
        table.add_column(name, justify="right" if right else "left", no_wrap=name != "looked at")
    for verdict in verdicts:
        colour = _COLOURS[verdict.outcome]
        table.add_row(
            verdict.check.id,
            verdict.check.title,
            f"[{colour}]{verdict.outcome}[/]",
            _looked_at(verdict),
            f"{verdict.seconds:.1f}",
        )
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=False)
    console.print(table)
    for verdict in verdicts:
        if verdict.problems:
            console.print(f"\n{verdict.check.id} {verdict.check.title}: {verdict.outcome}", markup=False)
            for told in verdict.problems:
                console.print(f"  {told}", markup=False, soft_wrap=True)
            if verdict.waiver:
                console.print(f"  waived until {verdict.waiver.until}: {verdict.waiver.reason}", markup=False)
            else:
                console.print(f"  To mend: {verdict.check.remedy}", markup=False, soft_wrap=True)
                console.print(f"  More: {_page(verdict)}", markup=False)
    for line in _idle(verdicts):
        console.print(f"\n{line}", markup=False, soft_wrap=True)
    console.print(f"\n{_sum(verdicts)}", markup=False)
    return out.getvalue()


def _markdown(verdicts: Sequence[Verdict]) -> str:
    lines = [f"### Production readiness: {_sum(verdicts)}", "", "| id | check | result | looked at | s |"]
    lines += ["| --- | --- | --- | --- | ---: |"]
    for verdict in verdicts:
        outcome = verdict.outcome if verdict.outcome == "holds" else f"**{verdict.outcome}**"
        cells = (verdict.check.id, verdict.check.title, outcome, _looked_at(verdict), f"{verdict.seconds:.1f}")
        lines.append(f"| {' | '.join(cells)} |")
    for verdict in verdicts:
        if verdict.problems:
            lines += ["", f"**{verdict.check.id} {verdict.check.title}: {verdict.outcome}**", ""]
            lines += [f"- {str(told).replace(chr(10), ' ')}" for told in verdict.problems]
            waiver = verdict.waiver
            lines += ["", f"Waived until {waiver.until}: {waiver.reason}" if waiver else f"To mend: {_mend(verdict)}"]
    lines += [line for idle in _idle(verdicts) for line in ("", idle)]
    return "\n".join(lines)


def _github(verdicts: Sequence[Verdict]) -> str:
    """Return workflow commands: https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands."""
    lines = []
    for verdict in verdicts:
        command = {"error": "error", "warning": "warning", "note": "notice"}.get(_LEVELS.get(verdict.outcome, ""))
        for told in verdict.problems:
            facts = {
                "file": told.file,
                "line": str(told.line or ""),
                "title": f"{verdict.check.id} {verdict.check.title}",
            }
            given = ",".join(f"{name}={_property(value)}" for name, value in facts.items() if value)
            lines.append(f"::{command} {given}::{_data(f'{told.text} To mend: {_mend(verdict)}')}")
    lines += [f"::warning title=waiver not needed::{_data(idle)}" for idle in _idle(verdicts)]
    return "\n".join(lines)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _json(verdicts: Sequence[Verdict]) -> str:
    return json.dumps({"summary": _sum(verdicts), "checks": [_facts(verdict) for verdict in verdicts]}, indent=2)


def _facts(verdict: Verdict) -> dict[str, Any]:  # Any: what JSON can hold
    waiver = verdict.waiver
    return {
        "id": verdict.check.id,
        "title": verdict.check.title,
        "level": verdict.check.level,
        "result": verdict.outcome,
        "looked_at": dict(verdict.looked_at),
        "seconds": round(verdict.seconds, 2),
        "problems": [{"text": told.text, "file": told.file, "line": told.line} for told in verdict.problems],
        "remedy": verdict.check.remedy,
        "page": _page(verdict),
        "waiver": {"reason": waiver.reason, "until": str(waiver.until), "needed": not verdict.idle_waiver}
        if waiver
        else None,
    }


def _sarif(verdicts: Sequence[Verdict]) -> str:
    rules = [
        {
            "id": verdict.check.id,
            "name": verdict.check.title.title().replace(" ", ""),
            "shortDescription": {"text": f"{verdict.check.id} {verdict.check.title}"},
            "fullDescription": {"text": verdict.check.why},
            "help": {"text": verdict.check.remedy},
            "defaultConfiguration": {"level": verdict.check.level},
        }
        for verdict in verdicts
    ]
    results = [
        {
            "ruleId": verdict.check.id,
            "level": _LEVELS[verdict.outcome],
            "message": {"text": f"{told.text} To mend: {_mend(verdict)}"},
            "locations": [_location(told)],
            **(
                {"suppressions": [{"kind": "inSource", "justification": verdict.waiver.reason}]}
                if verdict.waiver
                else {}
            ),
        }
        for verdict in verdicts
        for told in verdict.problems
    ]
    tool = {
        "driver": {
            "name": f"{PROGRAM} readiness",
            "informationUri": "https://langchain-ai.github.io/langgraph/",
            "rules": rules,
        }
    }
    return json.dumps({"$schema": _SARIF, "version": "2.1.0", "runs": [{"tool": tool, "results": results}]}, indent=2)


def _location(told: Told) -> dict[str, Any]:  # Any: as above
    # Code scanning shows nothing that has no file: what is no line's fault is the standard's page.
    artifact = {"uri": told.file or PAGE, "uriBaseId": "%SRCROOT%"}
    return {"physicalLocation": {"artifactLocation": artifact, "region": {"startLine": max(1, told.line)}}}


def _junit(verdicts: Sequence[Verdict]) -> str:
    suite = ET.Element("testsuite", name="readiness", tests=str(len(verdicts)))
    for verdict in verdicts:
        name = f"{verdict.check.id} {verdict.check.title}"
        case = ET.SubElement(suite, "testcase", classname="readiness", name=name, time=f"{verdict.seconds:.2f}")
        text = "\n".join(map(str, verdict.problems))
        if verdict.outcome == "fails":
            ET.SubElement(case, "failure", message=_mend(verdict)).text = text
        elif verdict.outcome != "holds":
            ET.SubElement(case, "skipped", message=f"{verdict.outcome} {text}".strip())
    for name, outcome in (("failures", {"fails"}), ("skipped", {"warns", "waived", "not run"})):
        suite.set(name, str(sum(verdict.outcome in outcome for verdict in verdicts)))
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True)


def _sum(verdicts: Sequence[Verdict]) -> str:
    held = sum(verdict.outcome == "holds" for verdict in verdicts)
    waived = sum(verdict.outcome == "waived" for verdict in verdicts)
    return f"{held} of {len(verdicts)} hold" + (f", {waived} waived" if waived else "")


def _idle(verdicts: Sequence[Verdict]) -> list[str]:
    return [
        f"{verdict.check.id} holds, so its waiver is not needed any more: delete it from pyproject.toml"
        for verdict in verdicts
        if verdict.idle_waiver
    ]


def _looked_at(verdict: Verdict) -> str:
    return ", ".join(f"{number} {what}" for what, number in sorted(verdict.looked_at.items()))


def _mend(verdict: Verdict) -> str:
    return f"{verdict.check.remedy} ({_page(verdict)})"


def _page(verdict: Verdict) -> str:
    return f"{PAGE}#{anchor(verdict.check.id, verdict.check.title)}"


def anchor(id_: str, title: str) -> str:
    """Return the anchor that GitHub and GitLab give to a check's heading."""
    return f"{id_} {title}".lower().replace(" ", "-")


FORMATS: Mapping[str, Callable[[Sequence[Verdict]], str]] = {
    "table": _table,
    "json": _json,
    "sarif": _sarif,
    "junit": _junit,
    "markdown": _markdown,
    "github": _github,
}
