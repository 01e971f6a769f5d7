"""R12 event loop: calls that block, in nodes and behind them, stalls that only a run shows, and set-up per request."""

from harness import Case, assert_fails, assert_holds

IMPORTS = "import asyncio\nimport logging\n"
PUBLISH = "await asyncio.to_thread(publish, settings_of(runtime).data_dir, key, state"
NOT_FOUND = '    """Say that the documents have no answer; a guess would be worse."""\n'
DELIVERS = 'crash right after it cannot double it."""\n'


def in_deliver(case: Case, code: str, *, imports: str = "", more: str = "") -> Case:
    """Let the node `deliver` begin with some code."""
    case.replace("agent/finish.py", IMPORTS, f"{IMPORTS}{imports}")
    case.replace("agent/finish.py", "async def deliver(", f"{more}async def deliver(")
    return case.replace("agent/finish.py", DELIVERS, f"{DELIVERS}    {code}\n")


def test_a_node_that_calls_its_database_without_a_thread(case: Case) -> None:
    case.replace("agent/finish.py", PUBLISH, "publish(settings_of(runtime).data_dir, key, state")
    said = "node deliver: sqlite3.connect() in _connect blocks the event loop"
    verdicts = assert_fails(case, "R12", said, scenario="straight-pass")
    assert any(problem["file"].endswith("agent/outbox.py") for problem in verdicts.checks["R12"]["problems"])


def test_a_node_that_waits_in_time_sleep(case: Case) -> None:
    in_deliver(case, "time.sleep(0.3)", imports="import time\n")
    said = ("ASYNC251", "scenario straight-pass: the event loop stood still for", "ms in deliver, 100 ms at most")
    assert_fails(case, "R12", *said, scenario="straight-pass")


def test_a_node_that_asks_the_model_by_the_synchronous_twin(case: Case) -> None:
    case.replace(
        "agent/write.py", "(await load_model(settings_of(runtime).model).ainvoke(prompt))", "_ask(runtime, prompt)"
    )
    ask = "def _ask(runtime: Runtime[AgentSettings], prompt: str) -> AIMessage:\n"
    ask += "    return load_model(settings_of(runtime).model).invoke(prompt)\n\n\n"
    case.replace("agent/write.py", "async def review(", f"{ask}async def review(")
    case.replace(
        "agent/write.py",
        "from langgraph.runtime",
        "from langchain_core.messages import AIMessage\nfrom langgraph.runtime",
    )
    assert_fails(
        case, "R12", "node review: ", ".invoke() in _ask", "its async twin is ainvoke", scenario="straight-pass"
    )


def test_a_computation_that_only_a_run_shows(case: Case) -> None:
    code = 'getattr(hashlib, "pbkdf2_hmac")("sha256", b"answer", b"salt", 900_000)'
    in_deliver(case, code, imports="import hashlib\n")
    assert_fails(case, "R12", "the event loop stood still for", "ms in deliver", scenario="straight-pass")


def test_a_plain_node(case: Case) -> None:
    case.replace("agent/finish.py", "async def give_up", "def give_up")
    case.replace("agent/graph.py", "        timeout=NODE_TIMEOUT,\n", "")  # LangGraph refuses it for plain nodes
    assert_fails(case, "R12", "node give_up is not async", scenario="straight-pass")


def test_pool_and_set_up_for_every_request(case: Case) -> None:
    """Two templates do so; a third did until its users met PoolTimeout."""
    case.write(
        "api.py",
        '''"""Chat over HTTP."""

from fastapi import APIRouter
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from .agent import build_graph, new_input

router = APIRouter()


async def answer(question: str, thread: str) -> str:
    """Answer on a thread."""
    async with AsyncSqliteSaver.from_conn_string("/var/lib/agent/threads.db") as saver:
        await saver.setup()
        graph = build_graph().compile(checkpointer=saver)
        done = await graph.ainvoke(new_input(question), {"configurable": {"thread_id": thread}, "recursion_limit": 60})
    return str(done["answer"])


@router.post("/chat")
async def chat(question: str, thread: str) -> str:
    """Answer."""
    return await answer(question, thread)
''',
    )
    said = (f"chat sets up on every call: {what}()" for what in ("AsyncSqliteSaver.from_conn_string", "saver.setup"))
    compiled = "chat sets up on every call: build_graph().compile()"
    # R16: `setup()` makes tables there.
    assert_fails(case, "R12", *said, compiled, also={"R16"}, scenario="straight-pass")


def test_a_node_that_compiles_its_sub_graph_each_time(case: Case) -> None:
    case.replace("agent/search.py", "_ranking.ainvoke(", "_ranking().ainvoke(")
    case.replace("agent/search.py", "_ranking = (\n    StateGraph", "def _ranking():\n  return (\n    StateGraph")
    assert_fails(case, "R12", "node search sets up on every run: ", "compile()", scenario="straight-pass")


def test_threads_and_waiting_are_no_stall(case: Case) -> None:
    hashes = "hashlib.pbkdf2_hmac('sha256', b'answer', b'salt', 900_000)"
    more = f"def _slow() -> None:\n    time.sleep(0.2)\n    {hashes}\n\n\n"
    code = "await asyncio.gather(asyncio.to_thread(_slow), asyncio.sleep(0.4))"
    in_deliver(case, code, imports="import hashlib\nimport time\n", more=more)
    assert_holds(case, "R12", scenario="straight-pass")


def test_what_is_slow_the_first_time_only_is_no_stall(case: Case) -> None:
    more = "@cache\ndef _table() -> int:\n    return sum(divmod(number, 7)[1] for number in range(3_000_000))\n\n\n"
    in_deliver(case, "_table()", imports="from functools import cache\n", more=more)
    assert_holds(case, "R12", scenario="straight-pass")


def test_a_sub_graph_that_build_graph_compiles_and_a_pool_for_the_process(case: Case) -> None:
    case.replace("agent/search.py", "_ranking = (\n    StateGraph", "def _ranking_graph():\n  return (\n    StateGraph")
    case.replace("agent/search.py", "class _Ranking(", "_MARKS = re.compile('x')\n\n\nclass _Ranking(")
    with (case.package / "agent/search.py").open("a") as file:
        file.write("\n\n_ranking = _ranking_graph()\n")
    in_deliver(case, 're.compile("[a-z]+")', imports="import re\n")
    case.write(
        "api.py",
        '''"""Chat over HTTP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request

from .agent import AgentSettings, new_input
from .runs import new_thread_id, open_runs


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the runs, once."""
    async with open_runs(AgentSettings()) as app.state.runs:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/chat")
async def chat(request: Request, question: str) -> str:
    """Answer."""
    status = await request.app.state.runs.start(new_input(question), thread=new_thread_id("chat", "http"))
    return str(status.values["answer"])
''',
    )
    assert_holds(case, "R12", scenario="straight-pass")
