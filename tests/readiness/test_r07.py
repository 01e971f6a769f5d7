"""R07: runs on no thread, on everybody's thread, or on one that nobody finds again; and what only looks like that."""

from harness import Case, assert_fails, assert_holds

QUICK = "straight-pass"
HEAD = '''"""A team's own way in."""

import re
import uuid
from dataclasses import dataclass
from uuid import uuid4

from langgraph.graph.state import CompiledStateGraph

from .agent import build_graph
from .runs import Runs, new_thread_id

'''


def test_a_graph_that_is_called_without_a_thread(case: Case) -> None:
    case.write(
        "service.py",
        HEAD
        + "chat_bot = build_graph().compile()\n\n\n"
        + "def bot() -> CompiledStateGraph:\n    return chat_bot\n\n\n"
        + "async def ask(payload: dict) -> dict:\n    return await chat_bot.ainvoke(payload)\n\n\n"
        + "async def more(payload: dict):\n    return await bot().ainvoke(payload, {'recursion_limit': 50})\n\n\n"
        + "async def watch(payload: dict):\n    async for one in chat_bot.astream(payload, config=None):\n"
        + "        yield one\n",
    )
    case.write(
        "http.py",
        "from .service import chat_bot\n\n\nclass Api:\n    def __init__(self, graph):\n        self._graph = graph\n\n"
        "    def post(self, payload):\n        return self._graph.invoke(payload), chat_bot.invoke(payload)\n",
    )
    assert_fails(
        case,
        "R07",
        "chat_bot.ainvoke() is called without a config: on no thread",
        "bot().ainvoke() is called with a config that has no thread_id: {'recursion_limit': 50}",
        "chat_bot.astream() is called without a config",
        "chat_bot.invoke() is called without a config",
        "self._graph.invoke() is called without a config",
        scenario=QUICK,
    )


def test_an_id_that_everybody_shares(case: Case) -> None:
    """A service with the default thread id "default", as a parameter, in a request's form and in a config."""
    case.write(
        "service.py",
        HEAD
        + "from pydantic import BaseModel, Field\n\n\n"
        + 'class Request(BaseModel):\n    thread_id: str = Field("quickstart", description="x")\n\n\n'
        + 'async def ask(runs: Runs, payload: dict, thread: str = "default") -> None:\n'
        + "    await runs.start(payload, thread=thread)\n\n\n"
        + "async def again(graph, payload: dict, options: dict) -> None:\n"
        + '    await graph.ainvoke(payload, {"configurable": {"thread_id": options.get("thread_id") or "1"}})\n',
    )
    assert_fails(case, "R07", "'default' is the same", "'quickstart' is the same", "'1' is the same", scenario=QUICK)


def test_an_id_that_is_made_up_at_the_call(case: Case) -> None:
    """A service that begins a new thread with each request that names none, and forgets it."""
    case.write(
        "service.py",
        HEAD
        + "async def ask(runs: Runs, payload: dict, thread: str | None = None) -> None:\n"
        + "    await runs.start(payload, thread=thread or str(uuid.uuid4()))\n"
        + '    await runs.start(payload, thread=new_thread_id("ask", uuid4().hex))\n\n\n'
        + "async def stream(graph, payload: dict):\n"
        + '    chosen = f"chat-{uuid4()}"\n'
        + '    config = {"configurable": {"thread_id": chosen}}\n'
        + "    async for event in graph.astream(payload, config):\n        yield event\n",
    )
    assert_fails(
        case,
        "R07",
        "uuid.uuid4() is made up",
        "new_thread_id('ask', uuid4().hex) is made up",
        "f'chat-{uuid4()}' is made up",
        scenario=QUICK,
    )


def test_a_run_that_takes_any_id(case: Case) -> None:
    case.replace(
        "runs/runs.py",
        "self._accept(dict(payload), thread_id(thread), mode",
        "self._accept(dict(payload), ThreadId(thread), mode",
    )
    assert_fails(case, "R07", "Runs.start accepts thread=''", "Runs.start accepts thread='a/b'", scenario=QUICK)


def test_log_lines_that_belong_to_no_run(case: Case) -> None:
    case.replace("runs/logs.py", "        structlog.contextvars.merge_contextvars,\n", "")
    assert_fails(case, "R07", "has the thread id None: readiness.says: node", scenario=QUICK)


def test_calls_that_are_of_no_graph_and_ids_that_lead_back(case: Case) -> None:
    """Innocent: a model, a chain, a pattern; ids that are given, or hold the job's; a random id of something else."""
    case.write(
        "service.py",
        HEAD
        + "graph = re.compile('x')\nagent = uuid.UUID(int=0) | graph\n\n\n"
        + "@dataclass\nclass Job:\n    ticket: str\n    request_id: str = ''\n\n\n"
        + "async def ask(runs: Runs, model, job: Job, payload: dict, thread_id: str, **options) -> None:\n"
        + "    chain = model | str\n"
        + "    await model.ainvoke('x')\n    await chain.ainvoke('x')\n"
        + "    graph.stream('x')\n    await agent.ainvoke('x')\n"
        + "    job.request_id = str(uuid4())\n"
        + '    await runs.start(payload, thread=new_thread_id("ask", job.ticket))\n'
        + '    await runs.start(payload, thread=f"{job.ticket}-{uuid4().hex[:8]}")\n\n\n'
        + "async def compiled(saver, job: Job, payload: dict, thread_id: str, **options) -> None:\n"
        + "    bot = build_graph().compile(checkpointer=saver)\n"
        + '    config = {"configurable": {"thread_id": thread_id}, "metadata": {"run_id": str(uuid4())}}\n'
        + "    await bot.ainvoke(payload, config)\n"
        + "    await bot.ainvoke(payload, **options)\n"
        + '    await bot.ainvoke(payload, {**config, "recursion_limit": 9})\n',
    )
    verdicts = assert_holds(case, "R07", scenario=QUICK)
    assert verdicts.checks["R07"]["looked_at"]["graph calls"] == 4


def test_a_sub_graph_in_a_node_is_on_the_thread_of_the_run(case: Case) -> None:
    """Innocent: LangGraph hands the config of the run on to what a node calls."""
    case.replace("agent/search.py", "CANDIDATES + 2}\n", "CANDIDATES + 2}\n    config.pop('recursion_limit')\n")
    case.replace("agent/search.py", ".compile(checkpointer=False)", ".compile()")
    verdicts = assert_holds(case, "R07", scenario=QUICK)
    assert verdicts.checks["R07"]["looked_at"]["graph calls"] == 2
