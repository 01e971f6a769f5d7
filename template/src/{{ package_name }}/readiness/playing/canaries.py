"""Canaries: values that stand for secrets and are unmistakable wherever they turn up; and what a run shows."""

import ast
import io
import logging
import re
import types
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from langchain_core.tracers.schemas import Run
from pydantic import SecretBytes, SecretStr, ValidationError

from ...agent import AgentSettings
from ...runs import configure_logging
from ...scenario import Scenario
from ..source import nodes as source
from .play import settings_for

SHORTEST = 8  # characters of a scenario's own secret: a shorter one may be in a text by chance

_URLS = frozenset({"database_url", "database_direct_url"})
_KEYS = frozenset({"checkpoint_key", "checkpoint_key_old"})  # they seal; a file refuses them
_PROVIDERS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*(KEY|TOKEN|SECRET|PASSWORD)")
_PLAIN = re.compile(r"(api_?key|secret|secret_key|password|(access|auth|bearer|refresh|api)_?token)$")


@dataclass(frozen=True)
class Canaries:
    """Secrets by what they are called, and the settings with them."""

    found: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)  # Any: values of settings
    refused: dict[str, str] = field(default_factory=dict)  # fields that take no canary, each with the reason


def plain_secrets() -> list[str]:
    """Return the fields of the settings that are named like secrets and are plain texts."""
    fields = AgentSettings.model_fields.items()
    return [name for name, field in fields if str in _kinds(field.annotation) and _PLAIN.search(name)]


def settings_canaries(scenario: Scenario, folder: Path) -> Canaries:
    """Return a canary for every secret field of the settings; a scenario's own value is one, too."""
    canaries = Canaries()
    for name, info in AgentSettings.model_fields.items():
        kinds = {SecretStr, SecretBytes} & _kinds(info.annotation)
        if not kinds or name in _KEYS:
            continue
        if name in scenario.settings:
            own = scenario.settings[name]
            value = own.get_secret_value() if isinstance(own, SecretStr | SecretBytes) else own
            canaries.found[f"the setting {name}"] = value.decode() if isinstance(value, bytes) else str(value)
            continue
        canary = _canary(name)
        text = f"server://agent:{canary}@database.invalid/agent" if name in _URLS else canary
        given = {name: SecretStr(text) if SecretStr in kinds else SecretBytes(text.encode())}
        try:
            settings_for(scenario, folder, **given)
        except ValidationError as error:
            canaries.refused[name] = error.errors()[0]["msg"]
        else:
            canaries.found[f"the setting {name}"] = canary
            canaries.settings.update(given)
    return canaries


def environment_canaries(project: Path) -> dict[str, str]:
    """Return a canary for every variable that is named like a secret in the source or in `.env.example`."""
    names = set(_PROVIDERS)
    example = project / ".env.example"
    if example.exists():
        names |= set(re.findall(r"^#?\s*([A-Z][A-Z0-9_]*)=", example.read_text("utf-8"), re.MULTILINE))
    for file in source.files():
        constants = (part.value for part in ast.walk(source.tree(file)) if isinstance(part, ast.Constant))
        names |= {value for value in constants if isinstance(value, str)}
    secret = {name for name in names if _VARIABLE.fullmatch(name) and name.lower() not in AgentSettings.model_fields}
    return {name: _canary(name) for name in sorted(secret)}


@contextmanager
def logged() -> Iterator[io.StringIO]:
    """Yield what is printed and logged in the block, as LOG_LEVEL=DEBUG shows it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    text = io.StringIO()
    with redirect_stderr(text), redirect_stdout(text):
        configure_logging("DEBUG", "console")
        try:
            yield text
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)


class Tracer(RunCollectorCallbackHandler):
    """Keeps what a tracer, such as LangSmith's, is given."""

    run_inline = True

    def parts(self) -> Iterator[tuple[str, str, object]]:
        """Yield what it was given: of which run, which part of it, and that."""
        left: list[Run] = list(self.traced_runs)
        while left:
            run = left.pop()
            left += run.child_runs
            parts = {"inputs": run.inputs, "outputs": run.outputs, "error": run.error, "tags": run.tags}
            for part, value in {**parts, "metadata": run.extra, "name": run.name}.items():
                yield run.name, part, value


def holds(value: Any, secret: str, depth: int = 12) -> bool:  # Any: whatever a run has in its state or shows
    """Tell whether a value holds a secret, in whatever it is made of, so many levels deep."""
    parts: list[Any]  # Any: as above
    match value:
        case str():
            return secret in value
        case bytes():
            return secret.encode() in value
        case SecretStr() | SecretBytes():  # its text hides it, and the serialiser does not
            parts = [value.get_secret_value()]
        case dict():
            parts = [*value, *value.values()]
        case list() | tuple() | set() | frozenset():
            parts = list(value)
        case _:
            parts = [repr(value), *getattr(value, "__dict__", {}).values()]
    return depth > 0 and any(holds(part, secret, depth - 1) for part in parts)


def _canary(name: str) -> str:
    return f"canary-{name.lower().replace('_', '-')}-5d1e8c"


def _kinds(annotation: Any) -> set[Any]:  # Any: what annotations are made of
    if get_origin(annotation) in {Union, types.UnionType}:
        return set(get_args(annotation))
    return {annotation}
