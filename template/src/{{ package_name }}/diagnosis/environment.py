"""What a process brings along: its settings, its libraries, and what it would run."""

import platform
import re
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver  # noqa: TID251 - it is only recognised
from langgraph.checkpoint.serde import _msgpack
from langgraph.graph.state import CompiledStateGraph
from pydantic import ValidationError, create_model
from pydantic_settings import BaseSettings

from ..agent import AgentSettings, build_graph, check
from ..errors import PROGRAM, ProjectError
from ..runs.config import graph_version, project_version
from ..settings import problems_of, redact
from .finding import Finding, fine

BENEATH = ("langgraph-checkpoint", "langchain-core")  # of the libraries that the project does not name itself
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def read_settings() -> tuple[AgentSettings, list[Finding]]:
    """Return the settings, and what is wrong with them; a wrong one has its default then, so that all else is seen."""
    try:
        return AgentSettings(), []
    except ValidationError as error:
        wrong = {str(problem["loc"][0]) for problem in error.errors() if problem["loc"]}
        said = [": ".join(filter(None, problem)) for problem in problems_of(error)]
    found = [Finding("settings", "wrong", redact(f"{text}. See .env.example")) for text in said]
    # The fields alone, without the validators that look at several of them: one of those has refused them together.
    fields = {name: (field.annotation, field) for name, field in AgentSettings.model_fields.items()}
    plain: Any = create_model("Fields", __base__=_Fields, **fields)  # type: ignore[call-overload] # any fields
    defaults = {
        name: field.get_default(call_default_factory=True, validated_data={})
        for name, field in AgentSettings.model_fields.items()
        if name in wrong
    }
    values = plain(**defaults)
    return AgentSettings.model_construct(**{name: getattr(values, name) for name in fields}), found


def libraries() -> list[str]:
    """Return the names of the libraries that the project asks for, and of those that matter beneath them."""
    try:
        asked = requires(PROGRAM) or []
    except PackageNotFoundError:  # run from its source, not installed
        asked = []
    return sorted({*BENEATH, *(found[0] for name in asked if (found := _NAME.match(name)))})


class _Fields(BaseSettings):
    model_config = AgentSettings.model_config


def environment(settings: AgentSettings) -> Iterator[Finding]:
    """Say what runs here, whatever the database is like."""
    yield fine("python", platform.python_version())
    for name in libraries():
        with suppress(PackageNotFoundError):
            yield fine(name, version(name))
    yield fine("environment", settings.environment)
    yield _types()
    yield _agent(settings)
    yield from _graph()


def _types() -> Finding:
    """LangGraph reads the variable once; the package sets it, but some other import may have come first."""
    if _msgpack.STRICT_MSGPACK_ENABLED:
        return fine("strict types", "LANGGRAPH_STRICT_MSGPACK is on")
    return Finding(
        "strict types",
        "wrong",
        "LANGGRAPH_STRICT_MSGPACK is off for LangGraph: it is set to false, or was set after LangGraph had been "
        "imported. Set LANGGRAPH_STRICT_MSGPACK=true in the environment of the process",
    )


def _agent(settings: AgentSettings) -> Finding:
    try:
        check(settings)
    except ProjectError as error:
        return Finding("agent", "wrong", redact(str(error)))
    except Exception as error:  # noqa: BLE001 - the team's code, and the other findings are to be seen all the same
        return Finding("agent", "wrong", redact(f"its check fails with {type(error).__name__}: {error}"))
    return fine("agent", "its model and documents can be used")


def _graph() -> Iterator[Finding]:
    graph = build_graph().compile()
    yield fine("graph", f"version {graph_version(graph)}, release {project_version()}")
    for name in in_memory(graph):
        yield Finding(
            "graph",
            "wrong",
            f"the sub-graph {name} is compiled with an InMemorySaver: its state is lost with the process, and no other "
            "process sees it. Compile it without a checkpointer: it uses that of its parent",
        )


def in_memory(graph: CompiledStateGraph[Any, Any, Any, Any]) -> list[str]:  # Any: whatever state and context it has
    """Return the names of the sub-graphs that keep their state in memory."""
    return [
        name
        for name, found in graph.get_subgraphs(recurse=True)
        if isinstance(getattr(found, "checkpointer", None), InMemorySaver)
    ]
