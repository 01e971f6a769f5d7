"""Finding passages: plan the sub-questions, search for each in parallel, keep the passages that score well."""

import asyncio
import re
from pathlib import Path
from typing import TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from .documents import open_index
from .model import settings_of
from .settings import AgentSettings
from .state import SearchTask, State
from .text import terms, words

BRANCHES = 3  # sub-questions searched at once
CANDIDATES = 8  # passages scored for each
KEPT = 4  # passages kept of each
RELEVANT = 0.5  # share of the query's terms that a passage must hold

_PARTS = re.compile(r"[?;]\s*|,?\s+and\s+(?=how|what|when|where|which|who|why)", re.IGNORECASE)


async def plan(state: State, runtime: Runtime[AgentSettings]) -> State:
    """Split the question into sub-questions; on a second round, search for the reviewer's wish and for single words.

    The folder of documents is part of the state from here on: a run that goes on elsewhere answers from the same one.
    """
    searches = state["searches"] + 1
    if searches == 1:
        queries = [part.strip() for part in _PARTS.split(state["question"])]
    else:
        queries = [state.get("feedback", ""), *sorted(words(state["question"]), key=len, reverse=True)]
    queries = [query for query in queries if terms(query)][:BRANCHES] or [state["question"]]
    return {"searches": searches, "queries": queries, "docs": state.get("docs") or str(settings_of(runtime).docs)}


async def search(state: SearchTask, runtime: Runtime[AgentSettings]) -> State:
    """Return the ids of the passages that answer one sub-question. SQLite works in a thread: the loop stays free."""
    settings = settings_of(runtime)
    index = await asyncio.to_thread(open_index, Path(state["docs"]), settings.data_dir)
    found = await asyncio.to_thread(index.search, state["query"], CANDIDATES)
    passages = await asyncio.to_thread(index.fetch, found)
    loop = _Ranking(query=state["query"], texts={passage.id: passage.text for passage in passages})
    # LangGraph 1.2.22 hands the run's durability="sync" down to a graph without a checkpointer, which then waits for a
    # write that is never made (AttributeError: _put_checkpoint_fut). The parameter would warn: the key itself is set.
    config: RunnableConfig = {"configurable": {"__pregel_durability": "async"}, "recursion_limit": CANDIDATES + 2}
    ranked = await _ranking.ainvoke(loop, config)
    return {"passages": ranked["kept"]}


async def collect(state: State) -> State:
    """Wait for all branches: an edge out of a branch sees that branch's findings only."""
    return {}


class _Ranking(TypedDict, total=False):
    query: str
    texts: dict[str, str]  # passages still to score; never in a checkpoint, see below
    scores: dict[str, float]
    kept: list[str]


async def _score(state: _Ranking) -> _Ranking:
    """Score one passage: the share of the query's terms that it holds."""
    id_, text = next(iter(state["texts"].items()))
    wanted = terms(state["query"])
    score = len(wanted & terms(text)) / max(len(wanted), 1)
    rest = {other: state["texts"][other] for other in state["texts"] if other != id_}
    return {"texts": rest, "scores": {**state.get("scores", {}), id_: score}}


async def _keep(state: _Ranking) -> _Ranking:
    scores = state.get("scores", {})
    return {"kept": [id_ for id_ in sorted(scores, key=lambda id_: -scores[id_]) if scores[id_] >= RELEVANT][:KEPT]}


def _more(state: _Ranking) -> str:
    return "score" if state["texts"] else "keep"


# checkpointer=False, said aloud: a plain compile() would inherit the parent's checkpointer and store every turn of this
# loop, texts included. The price: after a crash inside it the loop starts again from its first passage, which costs
# milliseconds here. Give a sub-graph whose steps are dear, or touch the world, the parent's checkpointer instead.
_ranking = (
    StateGraph(_Ranking)
    .add_node("score", _score)
    .add_node("keep", _keep)
    .add_conditional_edges(START, _more, ["score", "keep"])
    .add_conditional_edges("score", _more, ["score", "keep"])
    .add_edge("keep", END)
    .compile(checkpointer=False)
)
