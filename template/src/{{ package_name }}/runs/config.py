"""The config of a run, made in one place: without it a call would lose its thread, its limit or its trace."""

import hashlib
import json
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeGuard

from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph

from ..errors import PROGRAM
from .registry import registered
from .shape import shape
from .threads import ThreadId, job_of


def run_config(thread: ThreadId, run: str, *, recursion_limit: int, graph_version: str) -> RunnableConfig:
    """Return the config of one call on a thread.

    Every run has an id of its own: LangGraph takes a repeated one for a re-entry and ignores the new input.
    The metadata goes to the tracer, into every checkpoint and, through `logs`, into every log line of the run.
    """
    metadata = {
        "run_id": run,
        "project": PROGRAM,
        "version": project_version(),
        "graph_version": graph_version,
        "job_id": job_of(thread),
    }
    return {"configurable": {"thread_id": thread}, "metadata": metadata, "recursion_limit": recursion_limit}


@cache
def project_version() -> str:
    """Return the installed project's version."""
    try:
        return version(PROGRAM)
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0+source"


def graph_version(graph: CompiledStateGraph[Any, Any, Any, Any]) -> str:
    """Return `<8 hex digits>.<number>`. Any: whatever state and context the graph has.

    The digits change with the graph's nodes, its edges, and the channels of its state with their types and reducers,
    those of its sub-graphs included; they are the same in every process and under every Python. The number is the
    version of the state (see `registry`).
    """
    shapes = {name: shape(inner.builder) for name, inner in graph.get_subgraphs(recurse=True) if _is_built(inner)}
    text = json.dumps([shape(graph.builder), shapes], sort_keys=True)
    return f"{hashlib.sha256(text.encode()).hexdigest()[:8]}.{registered().version}"


def _is_built(graph: object) -> TypeGuard[CompiledStateGraph[Any, Any, Any, Any]]:
    return isinstance(graph, CompiledStateGraph)  # of the functional API there is no builder to look at
