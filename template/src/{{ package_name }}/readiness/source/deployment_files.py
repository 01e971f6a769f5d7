"""The deployment files: which programs of the project they start, how often, with which settings and probes.

Kubernetes' manifests are known by their `kind`, compose files by their `services`, wherever they are. A file with
templates in it, as Helm's charts have, is no YAML and is left out.
"""

import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from ...agent import AgentSettings
from ..engine.check import Place

SCALED_BY_DEFAULT = 100  # KEDA's maxReplicaCount
FOREVER = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Rollout"})
_LEFT_OUT = frozenset({"src", "tests", "node_modules", "templates"})
_SETTINGS = frozenset(name.upper() for name in AgentSettings.model_fields)
_DEFAULT = re.compile(r"\$\{\w+:?-([^}]*)\}")

Node = Mapping[str, Any]  # Any: YAML


@dataclass(frozen=True)
class Container:
    """What starts a program of the project."""

    file: Path
    kind: str  # of the manifest that it is in; "compose"
    owner: str  # that manifest's name
    name: str
    node: Node
    replicas: int = 1
    stays: bool = False  # it serves or works until it is stopped

    @property
    def title(self) -> str:
        """What a finding calls it."""
        return f"{self.kind} {self.owner}" + (f", container {self.name}" if self.name != self.owner else "")

    @cached_property
    def settings(self) -> dict[str, str | None]:
        """The settings in its environment, by their fields' names; None for what a secret or a variable holds."""
        given = self.node.get("env" if self.kind != "compose" else "environment") or {}
        if isinstance(given, list):
            pairs = [
                one.partition("=")[::2] if isinstance(one, str) else (one["name"], one.get("value")) for one in given
            ]
        else:
            pairs = list(given.items())
        return {str(name).lower(): _literal(value) for name, value in pairs if str(name) in _SETTINGS}

    @property
    def knows_more(self) -> bool:
        """Whether it has settings from elsewhere."""
        return bool(self.node.get("envFrom") or self.node.get("env_file"))

    @property
    def command(self) -> list[str]:
        """What it runs, as far as the file says."""
        return [word for key in ("entrypoint", "command", "args") for word in words(self.node.get(key))]

    def place(self, key: str = "") -> Place:
        """Return the line with a key of it, or else its own."""
        lines = self.file.read_text("utf-8").splitlines()
        own = next((at for at, line in enumerate(lines, 1) if re.search(rf"\b{re.escape(self.name)}\b", line)), 1)
        found = (at for at, line in enumerate(lines, 1) if at >= own and key and re.match(rf"[\s-]*{key}:", line))
        return Place(self.file, next(found, own))


def yaml_files(project: Path) -> list[Path]:
    """Return the YAML files of a project that may deploy something."""
    found = [file for ending in ("yaml", "yml") for file in _below(project, ending)]
    return sorted(found)


def containers(project: Path) -> list[Container]:
    """Return the containers that start a program of the project, those that are long gone in production included."""
    documents = [(file, node) for file in yaml_files(project) for node in _documents(file)]
    most = dict(_scaled(node for _, node in documents))
    image = str(tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["project"]["name"])
    found = [one for file, node in documents for one in [*_pods(file, node, most), *_services(file, node)]]
    return [one for one in found if _is_ours(one, image)]


def words(command: object) -> list[str]:
    """Return a command's words, of a list or of a line."""
    if isinstance(command, str):
        try:
            return shlex.split(command)
        except ValueError:
            return command.split()
    return [str(word) for word in command] if isinstance(command, list) else []


def _below(folder: Path, ending: str) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir() and not (path.name in _LEFT_OUT or path.name.startswith(".")):
            yield from _below(path, ending)
        elif path.suffix == f".{ending}" and not path.name.startswith("."):
            yield path


def _documents(file: Path) -> list[Node]:
    try:
        return [node for node in yaml.safe_load_all(file.read_text("utf-8")) if isinstance(node, dict)]
    except (yaml.YAMLError, UnicodeDecodeError):
        return []


def _scaled(documents: Iterator[Node]) -> Iterator[tuple[str, int]]:
    for node in documents:
        spec = node.get("spec") or {}
        if node.get("kind") == "ScaledObject":
            yield spec["scaleTargetRef"]["name"], int(spec.get("maxReplicaCount", SCALED_BY_DEFAULT))
        elif node.get("kind") == "HorizontalPodAutoscaler":
            yield spec["scaleTargetRef"]["name"], int(spec["maxReplicas"])


def _pods(file: Path, node: Node, most: Mapping[str, int]) -> Iterator[Container]:
    kind, spec = str(node.get("kind", "")), node.get("spec") or {}
    spec = (spec.get("jobTemplate") or {}).get("spec") or spec
    pod = spec if kind == "Pod" else (spec.get("template") or {}).get("spec") or {}
    name = str((node.get("metadata") or {}).get("name", ""))
    replicas = max(int(spec.get("replicas") or 1), most.get(name, 1)) if kind in FOREVER else 1
    for one in pod.get("initContainers") or []:
        yield Container(file, kind, name, str(one["name"]), one)
    for one in pod.get("containers") or []:
        yield Container(file, kind, name, str(one["name"]), one, replicas, stays=kind in FOREVER)


def _services(file: Path, node: Node) -> Iterator[Container]:
    services = node.get("services")
    if "kind" in node or not isinstance(services, dict):
        return
    for name, one in services.items():
        if isinstance(one, dict):
            count = (one.get("deploy") or {}).get("replicas") or one.get("scale") or 1
            yield Container(file, "compose", name, name, one, int(_literal(count) or 1))


def _is_ours(one: Container, image: str) -> bool:
    return bool(one.settings) or "build" in one.node or image in str(one.node.get("image", ""))


def _literal(value: object) -> str | None:
    """Return a value as the program gets it; None if the file does not say."""
    if value is None:
        return None
    text = _DEFAULT.sub(r"\1", str(value))
    return None if "$" in text else text
