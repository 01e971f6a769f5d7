"""What purges on schedule, as the deployment files say: CronJobs, workers, crontabs and scheduled workflows."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml
from dotenv import dotenv_values

from ...agent import AgentSettings
from ..engine.check import Place
from .deployment_files import FOREVER, Container, containers, words, yaml_files

WINDOW = "audit_window_days"
CRONTABS = ("*.crontab", "crontab", "cron.d/*", "*.cron")
ELSEWHERE = frozenset({"development", "test"})  # environments that are not production
_LINE = re.compile(r"\s*(?:@\w+|(?:\S+\s+){5})\s*(?P<command>\S.*)")
_SETTING = re.compile(r"(?<![\w-])([A-Z_]+)=(\"[^\"]*\"|'[^']*'|\S*)")
_WORKER = f"{__package__.rpartition('.readiness.')[0]}.worker"

Node = Mapping[Any, Any]  # Any: YAML, whose 1.1 reads the key `on` as true


@dataclass(frozen=True)
class Schedule:
    """Something that starts `purge` again and again."""

    title: str
    place: Place
    settings: Mapping[str, str | None]  # in its environment, by their fields' names; None: a secret or a variable
    why_not: str = ""  # why it purges nothing all the same

    @property
    def window(self) -> str | None:
        """AUDIT_WINDOW_DAYS as it has it; empty if it has none, and None if a secret or a variable holds it."""
        default = AgentSettings.model_fields[WINDOW].default
        return self.settings.get(WINDOW, "" if default is None else str(default))


def schedules(project: Path) -> tuple[list[Schedule], int]:
    """Return what purges on schedule in production, and how many files and containers were searched for that."""
    every = containers(project)
    tabs = sorted({file for pattern in CRONTABS for file in project.glob(f"**/{pattern}") if _is_own(project, file)})
    flows = sorted(file for ending in ("yml", "yaml") for file in project.glob(f".github/workflows/*.{ending}"))
    found = [one for container in every for one in _of_container(project, container)]
    found += [one for file in tabs for one in _of_crontab(file)]
    found += [one for file in flows for one in _of_workflow(file)]
    return [one for one in found if one.settings.get("environment") not in ELSEWHERE], len([*every, *tabs, *flows])


def _of_container(project: Path, one: Container) -> Iterator[Schedule]:
    given = {**_from_elsewhere(project, one), **one.settings}
    if one.kind == "CronJob" and purges(one.command):
        spec: Node = next((node["spec"] for node in _documents(one.file) if _is_named(node, "CronJob", one.owner)), {})
        why_not = "it is suspended" if spec.get("suspend") else _dry(one.command)
        yield Schedule(one.title, one.place("args"), given, why_not)
    elif one.kind in {*FOREVER, "compose"} and "worker" in one.command and find_spec(_WORKER):
        default = str(AgentSettings.model_fields["purge_schedule"].default)
        why_not = "" if given.get("purge_schedule", default) != "" else "PURGE_SCHEDULE is empty"
        yield Schedule(one.title, one.place(), given, why_not)


def _of_crontab(file: Path) -> Iterator[Schedule]:
    given: dict[str, str | None] = {}
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        if re.match(r"\s*(#|$)", line):
            continue
        settings = {name.lower(): value.strip("\"'") for name, value in _SETTING.findall(line)}
        if re.match(r"\s*\w+\s*=", line):
            given |= settings
        elif (entry := _LINE.fullmatch(line)) and purges(words(entry["command"])):
            title = f"crontab {file.name}"
            yield Schedule(title, Place(file, number), {**given, **settings}, _dry(words(entry["command"])))


def _of_workflow(file: Path) -> Iterator[Schedule]:
    for flow in _documents(file):
        starts = flow.get("on", flow.get(True))
        if not isinstance(starts, dict) or not starts.get("schedule"):
            continue
        for name, job in (flow.get("jobs") or {}).items():
            for step in job.get("steps") or ():
                command = words(str(step.get("run", "")))
                if purges(command):
                    given = {**(flow.get("env") or {}), **(job.get("env") or {}), **(step.get("env") or {})}
                    settings = {str(key).lower(): _literal(value) for key, value in given.items()}
                    yield Schedule(f"workflow {file.name}, job {name}", Place(file), settings, _dry(command))


def purges(command: list[str]) -> bool:
    """Tell whether a command's words are a call of `purge`, perhaps in the line that a shell is given."""
    inner = [word for text in command if " " in text for word in words(text)]
    return "purge" in command or "purge" in inner


def _dry(command: list[str]) -> str:
    return "with --dry-run it deletes nothing" if any("--dry-run" in word for word in command) else ""


def _from_elsewhere(project: Path, one: Container) -> dict[str, str | None]:
    """Return what a container gets from ConfigMaps and files of the project."""
    given: dict[str, Any] = {}  # Any: YAML
    for source in one.node.get("envFrom") or ():
        name = (source.get("configMapRef") or {}).get("name")
        for node in (node for file in yaml_files(project) for node in _documents(file)):
            given |= (node.get("data") or {}) if name and _is_named(node, "ConfigMap", name) else {}
    listed = one.node.get("env_file") or ()
    for entry in [listed] if isinstance(listed, str) else listed:
        file = one.file.parent / str(entry["path"] if isinstance(entry, dict) else entry)
        if file.name != ".env":  # a machine's own: it is not in the repository
            given |= dotenv_values(file) if file.is_file() else {}
    return {str(key).lower(): _literal(value) for key, value in given.items()}


def _is_named(node: Node, kind: str, name: str) -> bool:
    return node.get("kind") == kind and (node.get("metadata") or {}).get("name") == name


def _is_own(project: Path, file: Path) -> bool:
    return file.is_file() and not any(part.startswith(".") for part in file.relative_to(project).parts)


def _literal(value: object) -> str | None:
    return None if value is None or "$" in str(value) else str(value)


def _documents(file: Path) -> list[Node]:
    try:
        return [node for node in yaml.safe_load_all(file.read_text("utf-8")) if isinstance(node, dict)]
    except (yaml.YAMLError, UnicodeDecodeError):
        return []
