"""Questions: each is answered once, by an answer that was meant for it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from acme_agent.agent import AgentSettings
from acme_agent.persistence import Fence, LeaseLost, fenced
from acme_agent.runs import Runs, UnknownThread, WrongRequest
from acme_agent.runs.recovery import recover
from langchain_core.runnables import RunnableConfig
from langgraph.types import Command, interrupt

from .conftest import Steps, ask_twice

Open = Callable[..., Awaitable[Runs]]


async def test_two_questions_of_a_node_are_answered_one_after_the_other(opened: Open) -> None:
    runs = await opened(ask=ask_twice)
    asked = await runs.start({"log": []}, thread="t")
    [first] = asked.questions
    assert (first.node, first.payload, first.actor) == ("ask", {"what": "first"}, "")
    status = await runs.answer("t", "one")
    [second] = status.questions
    assert second.payload == {"what": "second"}
    assert (await runs.answer("t", "two")).values == {"log": ["one/two"]}
    kinds = [(entry.kind, entry.actor, entry.detail) for entry in reversed(await runs.ledger.audit("t"))]
    assert kinds == [
        ("asked", "ask", '{"what": "first"}'),
        ("answered", "tester", "one"),
        ("asked", "ask", '{"what": "second"}'),
        ("answered", "tester", "two"),
    ]


async def test_a_late_repeated_or_unknown_answer_changes_nothing(opened: Open) -> None:
    runs = await opened(ask=ask_twice)
    [first] = (await runs.start({"log": []}, thread="t")).questions
    with pytest.raises(WrongRequest, match="does not ask 'nonsense'"):
        await runs.answer("t", "x", question="nonsense")
    with pytest.raises(WrongRequest, match="is no answer to question"):
        await runs.answer("t", "", question=first.question_id)
    assert (await runs.status("t")).questions == (first,)
    answers = await asyncio.gather(*(runs.ledger.answer(first, f"answer {number}", actor="a") for number in range(5)))
    assert sorted(answers) == ["answered"] * 4 + ["open"]
    status = await runs.resume("t")
    assert status.questions[0].payload == {"what": "second"}
    for question in (first.question_id, "nonsense"):
        with pytest.raises(WrongRequest, match=r"does not ask|answered already"):
            await runs.answer("t", "late", question=question)
    assert (await runs.status("t")).questions == status.questions
    ended = await runs.answer("t", "two")
    assert ended.condition == "done"
    with pytest.raises(WrongRequest, match="asks nothing"):
        await runs.answer("t", "three")
    with pytest.raises(UnknownThread):
        await runs.answer("nothing", "x")


async def test_crash_after_the_first_answer_asks_the_second_again(opened: Open) -> None:
    """The first answer is stored and given: a run that goes on has it, and is never given it again."""
    one, other = await opened(ask=ask_twice), await opened(ask=ask_twice)
    [first] = (await one.start({"log": []}, thread="t")).questions
    assert await one.ledger.answer(first, "one", actor="a") == "open"
    claimed = await one.ledger.claim(first.run_id, "dead")
    assert claimed
    with fenced(Fence(claimed.run_id, claimed.attempt, first.question_id)):
        config: RunnableConfig = {"configurable": {"thread_id": "t"}}
        await one._graph.ainvoke(Command(resume={first.question_id: "one"}), config, durability="sync")
    # It dies here: the graph has come to the second question, and the ledger says running.
    [(state, _)] = [(q.state, q) for q in await other.ledger.questions(claimed.run_id)]
    assert state == "delivered"
    [seen] = await other.ledger.line("t")
    taken = await other.ledger.take_over(seen, "another", crash_limit=9)
    assert taken
    await other._executor.execute(taken, lambda _: None)
    [second] = (await other.status("t")).questions
    assert second.payload == {"what": "second"}
    assert (await other.answer("t", "two")).values == {"log": ["one/two"]}


async def test_crash_before_the_answer_is_given_gives_it_again(opened: Open) -> None:
    """It is kept until the write that stores it."""
    runs = await opened(ask=ask_twice)
    [first] = (await runs.start({"log": []}, thread="t")).questions
    assert await runs.ledger.answer(first, "one", actor="a") == "open"
    claimed = await runs.ledger.claim(first.run_id, "dead")
    assert claimed
    taken = await runs.ledger.take_over(claimed, "another", crash_limit=9)
    assert taken
    await runs._executor.execute(taken, lambda _: None)
    assert (await runs.status("t")).questions[0].payload == {"what": "second"}


async def test_a_node_that_fails_after_its_first_answer_is_not_given_it_for_the_second(opened: Open) -> None:
    """A retried Command would approve the next question."""
    failures = ["provider down"]

    async def ask(_state: Any) -> dict[str, Any]:
        first = interrupt("first")
        if failures:
            raise RuntimeError(failures.pop())
        second = interrupt("second")
        return {"log": [f"{first}/{second}"]}

    runs = await opened(ask=ask)
    await runs.start({"log": []}, thread="t")
    with pytest.raises(RuntimeError, match="provider down"):
        await runs.answer("t", "one")
    failed = await runs.status("t")
    assert (failed.condition, failed.error) == ("failed", "RuntimeError: provider down")
    again = await runs.resume("t")
    assert [question.payload for question in again.questions] == ["first"] or again.questions[0].payload == "second"
    while again.condition == "waiting":
        again = await runs.answer("t", f"to {again.questions[0].payload}")
    assert again.values["log"][0].endswith("to second")


async def test_questions_of_parallel_nodes_take_their_own_answers(opened: Open) -> None:
    """Both may be answered before the run goes on."""

    async def both(_state: Any) -> dict[str, Any]:
        return {}

    runs = await opened(begin=both)
    graph: Any = runs._graph.builder  # Any: a graph of another state than the agent's

    async def left(_state: Any) -> dict[str, Any]:
        return {"log": [f"left {interrupt('left?')}"]}

    async def right(_state: Any) -> dict[str, Any]:
        return {"log": [f"right {interrupt('right?')}"]}

    for name, node in (("left", left), ("right", right)):
        graph.add_node(name, node)
        graph.add_edge("begin", name)
    forked = Runs(graph.compile(checkpointer=runs._checkpointer), runs.settings, runs.ledger)
    async with forked:
        asked = {q.payload: q for q in (await forked.start({"log": []}, thread="t")).questions}
        assert asked.keys() == {"left?", "right?"}
        assert await forked.ledger.answer(asked["right?"], "R", actor="a") == "open"
        ended = await forked.answer("t", "L", question=asked["left?"].question_id)
    assert ended.values == {"log": ["left L", "right R"]}


async def test_a_cancelled_run_asks_nothing_more(opened: Open) -> None:
    runs = await opened(ask=ask_twice)
    [first] = (await runs.start({"log": []}, thread="t")).questions
    await runs.cancel("t")
    assert await runs.waiting() == []
    assert await runs.ledger.answer(first, "late", actor="a") == "withdrawn"
    with pytest.raises(WrongRequest):
        await runs.answer("t", "late")


@pytest.mark.parametrize("policy", ["remind", "escalate", "reject"])
async def test_a_question_that_nobody_answers(opened: Open, agent_settings: AgentSettings, policy: str) -> None:
    runs = await opened(ask=ask_twice)
    short = agent_settings.model_copy(update={"approval_hours": 1e-7, "approval_expiry": policy})
    runs._executor._settings = short
    await runs.start({"log": []}, thread="t")
    [found] = (await recover(runs.ledger, short)).overdue
    assert found.payload == {"what": "first"}
    assert (await recover(runs.ledger, short)).overdue == ()  # once
    status = await runs.status("t")
    kinds = [entry.kind for entry in await runs.ledger.audit("t")]
    if policy == "reject":
        assert (status.condition, "nobody answered" in status.error) == ("failed", True)
        assert kinds == ["expired", "expired", "asked"]
        with pytest.raises(WrongRequest):
            await runs.answer("t", "late")
        assert (await runs.start({"log": ["new"]}, thread="t")).condition == "waiting"
    else:
        assert status.condition == "waiting"
        assert kinds == ["reminded" if policy == "remind" else "escalated", "asked"]
        assert (await runs.answer("t", "late, but open")).condition == "waiting"


async def test_a_late_answer_is_refused_though_nobody_has_looked(opened: Open, agent_settings: AgentSettings) -> None:
    """Without a worker nobody does."""
    runs = await opened(ask=ask_twice)
    runs.settings = runs._executor._settings = agent_settings.model_copy(
        update={"approval_hours": 1e-7, "approval_expiry": "reject"}
    )
    [question] = (await runs.start({"log": []}, thread="t")).questions
    with pytest.raises(WrongRequest, match="asks nothing"):
        await runs.answer("t", "late")
    status = await runs.status("t")
    assert (status.condition, "nobody answered" in status.error) == ("failed", True)
    assert (await runs.ledger.questions(question.run_id))[0].state == "expired"


async def test_the_oldest_question_is_listed_first(opened: Open) -> None:
    runs = await opened(ask=ask_twice)
    for thread in ("t1", "t2", "t3"):
        await runs.start({"log": []}, thread=thread)
    await runs.answer("t1", "yes")
    assert [question.thread_id for question in await runs.waiting()] == ["t2", "t3", "t1"]
    assert [question.thread_id for question in await runs.waiting(limit=1)] == ["t2"]


async def test_an_answer_that_the_database_refused_is_not_given(opened: Open) -> None:
    """Its write is refused with the lease."""
    steps = Steps()
    runs = await opened(ask=ask_twice, **steps.nodes("after"))
    [first] = (await runs.start({"log": []}, thread="t")).questions
    await runs.ledger.answer(first, "one", actor="a")
    claimed = await runs.ledger.claim(first.run_id, "dead")
    assert claimed
    with fenced(Fence(claimed.run_id, claimed.attempt - 1, first.question_id)), pytest.raises(LeaseLost):
        await runs._graph.ainvoke(
            Command(resume={first.question_id: "one"}), {"configurable": {"thread_id": "t"}}, durability="sync"
        )
    assert [question.state for question in await runs.ledger.questions(first.run_id)] == ["answered"]
