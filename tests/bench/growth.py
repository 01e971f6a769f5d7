"""How a thread grows: many turns of a conversation, and what the tables hold after them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, RemoveMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES

from .savers import SAVERS

TAIL = 10  # the last turns, whose growth shows where it leads

_SUMMARIZE_AT = 12_000  # characters, about 3,000 tokens: the example agent's bound
_THREAD = "grows"
_KEEP = 4_000  # characters of the newest messages that stay beside the summary

LIVE = """
SELECT
    (SELECT coalesce(sum(pg_column_size(checkpoint) + pg_column_size(metadata)), 0) FROM checkpoints)
    + (SELECT coalesce(sum(pg_column_size(blob)), 0) FROM checkpoint_blobs)
    + (SELECT coalesce(sum(pg_column_size(blob)), 0) FROM checkpoint_writes),
    (SELECT count(*) FROM checkpoints)
    + (SELECT count(*) FROM checkpoint_blobs)
    + (SELECT count(*) FROM checkpoint_writes)
"""
DISK = """
SELECT
    pg_total_relation_size('checkpoints')
    + pg_total_relation_size('checkpoint_blobs')
    + pg_total_relation_size('checkpoint_writes')
"""


@dataclass(frozen=True)
class Growth:
    """What a long thread costs, in bytes a turn."""

    turns: int
    bytes_per_turn: float  # live values as they are stored, compressed
    tail_bytes_per_turn: float  # of the last TAIL turns
    disk_bytes_per_turn: float  # tables and indexes, dead rows that no vacuum has taken yet included
    rows: int


def plain(messages: list[Any]) -> list[Any]:
    """Keep every message."""
    return messages[len(messages) :]


def summarised(messages: list[Any]) -> list[Any]:
    """Replace the older messages by a summary, as the example agent does, when there are too many."""
    if sum(len(message.text) for message in messages) <= _SUMMARIZE_AT:
        return []
    newest: list[BaseMessage] = []
    for message in reversed(messages):
        newest.insert(0, message)
        if sum(len(message.text) for message in newest) > _KEEP and isinstance(message, HumanMessage):
            break
    return [RemoveMessage(REMOVE_ALL_MESSAGES), HumanMessage(f"[Summary] {_prose(0, 600)}"), *newest]


POLICIES: dict[str, tuple[Callable[[list[Any]], list[Any]], bool]] = {
    "plain": (plain, False),
    "summarised": (summarised, False),
    "pruned": (plain, True),
    "summarised and pruned": (summarised, True),
}
"""A policy's name: what happens to the messages, and whether earlier checkpoints go after each turn."""


def measure_growth(variant: str, policy: str, url: str, turns: int) -> Growth:
    """Let a thread grow by TAIL turns or more on an empty, migrated database. No chance is in it: once is enough."""
    shorten, prunes = POLICIES[policy]

    async def grown() -> Growth:
        async with SAVERS[variant](url) as saver:
            assert saver is not None
            before, _ = await _grow(saver, url, shorten, range(turns - TAIL), prunes)
            after, rows = await _grow(saver, url, shorten, range(turns - TAIL, turns), prunes)
        (disk,) = await _one_row(url, DISK)
        return Growth(turns, after / turns, (after - before) / TAIL, disk / turns, rows)

    return asyncio.run(grown())


async def _grow(
    saver: BaseCheckpointSaver[str], url: str, shorten: Callable[[list[Any]], list[Any]], turns: range, prunes: bool
) -> tuple[int, int]:
    """Take these turns. Return the live bytes and the rows after them."""

    async def reply(state: MessagesState) -> MessagesState:
        messages = state["messages"]
        return {"messages": [*shorten(messages), AIMessage(_prose(len(messages), 800))]}

    config: RunnableConfig = {"configurable": {"thread_id": _THREAD}}
    graph = StateGraph(MessagesState).add_node(reply).add_edge(START, "reply").compile(checkpointer=saver)
    for turn in turns:
        question: MessagesState = {"messages": [HumanMessage(_prose(turn, 200))]}
        await graph.ainvoke(question, config, durability="sync")
        if prunes:
            await saver.aprune([_THREAD], strategy="keep_latest")
    size, rows = await _one_row(url, LIVE)
    return int(size), int(rows)


async def _one_row(url: str, query: str) -> tuple[Any, ...]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        row = await (await connection.execute(query.encode())).fetchone()
    assert row is not None
    return row


def _prose(seed: int, characters: int) -> str:
    """Return text that differs from turn to turn and compresses about as prose does."""
    words = (f"{(seed * 1009 + number) * 2654435761 % 2**32:x}"[: 2 + number % 6] for number in range(characters))
    return " ".join(words)[:characters]
