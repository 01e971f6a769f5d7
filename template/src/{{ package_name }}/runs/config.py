"""The config of a run, made in one place: without it a call would lose its thread, its limit or its trace."""

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from uuid import uuid4

from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph

from ..errors import PROGRAM
from .threads import ThreadId, job_of


def run_config(thread: ThreadId, *, recursion_limit: int, graph_version: str) -> RunnableConfig:
    """Return the config of one call on a thread.

    The run id is new for every call: LangGraph takes a repeated one for a re-entry and ignores the new input.
    The metadata goes to the tracer, into every checkpoint and, through `logs`, into every log line of the run.
    """
    metadata = {
        "run_id": str(uuid4()),
        "project": PROGRAM,
        "version": project_version(),
        "graph_version": graph_version,
        "job_id": job_of(thread),
    }
    return {"configurable": {"thread_id": thread}, "metadata": metadata, "recursion_limit": recursion_limit}


def project_version() -> str:
    """Return the installed project's version."""
    try:
        return version(PROGRAM)
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0+source"


def graph_version(graph: CompiledStateGraph[Any, Any, Any, Any]) -> str:
    """Return 8 hex digits that change with the graph's nodes and edges. Any: whatever state and context it has."""
    built = graph.builder
    branches = [
        (node, name, sorted((branch.ends or {}).values()))
        for node in built.branches
        for name, branch in built.branches[node].items()
    ]
    shape = [sorted(built.nodes), sorted(built.edges), sorted(map(repr, built.waiting_edges)), sorted(branches)]
    return hashlib.sha256(json.dumps(shape).encode()).hexdigest()[:8]
