"""The graph: search -> synthesize -> review -> deliver, with ways back that the caps in `routing` bound."""

from datetime import timedelta

from langgraph.errors import NodeTimeoutError
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy

from . import finish, memory, routing, search, write
from .settings import AgentSettings
from .state import SearchTask, State

NODE_TIMEOUT = timedelta(minutes=2)  # an attempt of a node; only an async node that awaits can be cut off
TRANSIENT_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})


def is_transient(error: Exception) -> bool:
    """Tell whether trying again can help: lost connections, timeouts, and a server that says so by its status.

    Named by us because LangGraph's default retries unknown errors and does not retry a plain TimeoutError.
    """
    if isinstance(error, (ConnectionError, TimeoutError, NodeTimeoutError)):
        return True
    if getattr(error, "status_code", None) in TRANSIENT_STATUS:  # openai and anthropic raise such errors
        return True
    if getattr(error, "is_retryable", False) is True:  # LangChain's own errors, google's among them
        return True
    return any(kind.__name__ in {"APIConnectionError", "TransportError"} for kind in type(error).__mro__)


def build_graph() -> StateGraph[State, AgentSettings, State, State]:
    """Return the graph, not compiled: who runs it adds the checkpointer and passes AgentSettings as its context."""
    graph = StateGraph(State, context_schema=AgentSettings)
    graph.set_node_defaults(
        timeout=NODE_TIMEOUT,
        retry_policy=RetryPolicy(max_attempts=4, initial_interval=1.0, retry_on=is_transient),
        error_handler=finish.failed,
    )
    graph.add_node("summarize", memory.summarize)
    graph.add_node("plan", search.plan)
    graph.add_node("search", search.search, input_schema=SearchTask)
    graph.add_node("collect", search.collect)
    graph.add_node("synthesize", write.synthesize)
    graph.add_node("review", write.review)
    graph.add_node("approve", finish.approve)
    graph.add_node("deliver", finish.deliver)
    graph.add_node("not_found", finish.not_found)
    graph.add_node("give_up", finish.give_up)

    graph.add_conditional_edges(START, memory.route_turn, ["summarize", "plan"])
    graph.add_edge("summarize", "plan")
    graph.add_conditional_edges("plan", routing.fan_out, ["search"])
    graph.add_edge("search", "collect")
    graph.add_conditional_edges("collect", routing.after_search)
    graph.add_edge("synthesize", "review")
    graph.add_conditional_edges("review", routing.after_review)
    graph.add_conditional_edges("approve", routing.after_approval)
    for last in ("deliver", "not_found", "give_up"):
        graph.add_edge(last, END)
    return graph
