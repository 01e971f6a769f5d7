"""R09 resume is safe: what a node does to the world outside before it asks, or where it is tried again, has a key.

The text of each node is followed, and of the functions of the project that it calls, and of the tools that it has.
"""

from collections.abc import Iterable
from typing import Any

from langgraph.types import RetryPolicy

from .engine.check import Check, Exam
from .source import nodes as source
from .source.effects_of_nodes import effects_of
from .source.nodes import Code, Node

CHECK = Check(
    id="R09",
    title="resume is safe",
    holds="no node writes to the outside before an `interrupt()`, or with a retry policy, without a key from"
    " `idempotency_key(...)` or outside of a `@task`.",
    why="a node that is answered or tried again begins at its first line: the mail goes out twice, the card is charged"
    " twice.",
    remedy='take `key = idempotency_key(runtime.execution_info, "send mail")` in the node, and pass it along:'
    ' `client.post(url, json=body, headers={"Idempotency-Key": key})`; or put the effect into a node of its own behind'
    " the one that asks, with the key.",
    fact="code before `interrupt()` ran three times for a run, a call that went on with it, and an answer (LangGraph"
    " 1.2.22). A `@task` that had ended did not run again when the answer came, and did when its node was tried again:"
    " there only a key holds.",
    not_covered="effects behind names that the source does not tell, in libraries, and in sub-graphs that a node calls;"
    " a key that the other side ignores; and a `@task` without a key in a node that is tried again.",
)


def test_effects_have_keys(exam: Exam) -> None:
    """No node has an effect that an answer or a retry would repeat."""
    for node in source.nodes():
        found = effects_of(_code(node))
        exam.look("nodes")
        exam.look("calls", len(found.calls))
        retried = _is_retried(node)
        for effect in sorted(set(found.seen), key=str):
            if effect in found.before:
                exam.find(f"node {node.path}: {effect.what} comes before interrupt() without a key", effect.place)
            elif retried:
                exam.find(f"node {node.path} is tried again, and {effect.what} has no key", effect.place)


def _code(node: Node) -> Iterable[Code]:
    """Return a node's function, or the functions of its tools."""
    tools: dict[str, Any] = getattr(node.graph.nodes[node.name].runnable, "tools_by_name", {})  # Any: LangChain's tools
    inside = [getattr(tool, "coroutine", None) or getattr(tool, "func", None) for tool in tools.values()]
    return [code for code in [node.code, *inside] if code]


def _is_retried(node: Node) -> bool:
    """Return whether LangGraph tries the node again after an error, by its own policy or by the graph's default."""
    spec = node.graph.nodes[node.name]
    defaults = getattr(node.graph, "_node_defaults", None)
    policy = spec.retry_policy or (None if spec.is_error_handler else getattr(defaults, "retry_policy", None))
    policies = [policy] if isinstance(policy, RetryPolicy) else policy or []
    return any(one.max_attempts > 1 for one in policies)
