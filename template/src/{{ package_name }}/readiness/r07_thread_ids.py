"""R07 thread ids: every run is on a thread with an id that says what it serves.

The source is searched for calls of a compiled graph that pass no thread, and for ids that are made up at the call or
are the same for everybody. Then a run without an id, or with a bad one, is to be refused, and the log lines of a run
are to have its id.
"""

import ast
import asyncio
import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from langchain_core.callbacks import AsyncCallbackHandler

from ..agent import build_graph, checkpoint_types
from ..errors import ProjectError
from ..persistence import open_checkpointer, open_ledger
from ..runs import Runs, configure_logging
from ..scenario import Scenario
from .engine.check import Check, Exam, Place
from .playing.play import play, settings_for
from .source import nodes as source
from .source.given_ids import bad_ids
from .source.graph_calls import GraphCall, graph_calls
from .source.imported import assigned

MAKER = source.PACKAGE / "runs" / "threads.py"  # where a new id is made
BAD_IDS = ("", " ", "a thread", "a/b", "x" * 201, "a\0b")

CHECK = Check(
    id="R07",
    title="thread ids",
    holds="every entry point passes an explicit thread id that can be traced to what it serves, a run without one is"
    " refused, and the id is in every log line of the run.",
    why="a run whose thread nobody knows cannot be resumed, answered or found in the logs, and callers that share a"
    " constant id share one conversation.",
    remedy="enter through `Runs`, and give it an id that was made once: `thread = new_thread_id(kind, job_id)`, then"
    " `await runs.start(payload, thread=thread)` and the same `thread` ever after; log within `run_logged(config)`.",
    fact="LangGraph 1.2.22 refuses a call without a config, but takes an empty string for a thread id, and the"
    " in-memory saver takes None, too. A constant default id has merged the conversations of different agents in a"
    " published project, and of two overlapping runs on one thread one lost its message on 20 of 20 threads.",
    not_covered="whether the job id means something to your other systems, who may see a thread, and graphs that are"
    " called by a name that the source does not tell, as by `getattr`.",
)


def test_source_names_the_thread(exam: Exam) -> None:
    """No call of a graph lacks its thread, and no thread id is made up at the call."""
    for call in graph_calls():
        exam.look("graph calls")
        _check_call(call, exam)
    for file in source.files():
        exam.look("files")
        for wrong, place in bad_ids(file) if file != MAKER else ():
            exam.find(wrong, place)


async def test_run_without_a_thread_is_refused(scenarios: list[Scenario], tmp_path: Path, exam: Exam) -> None:
    """A run with no id, or with one that is none, is not accepted."""
    settings = settings_for(scenarios[0], tmp_path)
    url = f"sqlite:///{tmp_path / 'threads.db'}"
    async with open_checkpointer(url, settings=settings, types=checkpoint_types) as saver:
        runs = Runs(build_graph().compile(checkpointer=saver), settings, open_ledger(saver))
        for bad in BAD_IDS:
            exam.look("bad ids")
            shown = f"thread={bad!r}" if len(bad) < 20 else f"a thread id of {len(bad)} characters"
            try:
                await runs.start(scenarios[0].input, thread=bad, queue=True)
            except ProjectError:
                continue
            except Exception as error:  # noqa: BLE001 - it is what the finding tells
                exam.find(f"{shown} fails with {type(error).__name__}: {error}", Place.of(Runs.start))
                continue
            exam.find(f"Runs.start accepts {shown}", Place.of(Runs.start))


def test_log_lines_have_the_thread(scenarios: list[Scenario], tmp_path: Path, exam: Exam) -> None:
    """Whatever is logged in a run, by whomever, has the run's thread id."""
    with _logged() as written:
        played = asyncio.run(play(scenarios[0], tmp_path, callbacks=[_Says()]))
    lines = [json.loads(line) for line in written.getvalue().splitlines() if line.startswith("{")]
    during = [
        line for line in lines if line.get("logger") == _Says.name or ".runs.execution" in str(line.get("logger"))
    ]
    exam.look("log lines", len(during))
    for line in during:
        exam.require(
            line.get("thread_id") == played.thread,
            f"a log line of a run on thread {played.thread} has the thread id {line.get('thread_id')}:"
            f" {line.get('logger')}: {line.get('event')}",
            Place.of(configure_logging),
        )
    exam.require(any(line.get("logger") == _Says.name for line in during), "what a node logs is not written as JSON")


def _check_call(call: GraphCall, exam: Exam) -> None:
    config = call.config
    if config is None or (isinstance(config, ast.Constant) and config.value is None):
        exam.require(
            call.is_open or call.in_node, f"{call.text}() is called without a config: on no thread", call.place
        )
        return
    known = [config] if isinstance(config, ast.Dict) else []
    if isinstance(config, ast.Name):
        values, _ = assigned(config.id, call.file)
        known = [value for value in values if isinstance(value, ast.Dict)] if len(values) == 1 else []
    for given in known:
        exam.require(
            call.in_node or _may_have_thread(given),
            f"{call.text}() is called with a config that has no thread_id: {ast.unparse(given)}",
            call.place,
        )


def _may_have_thread(config: ast.expr) -> bool:
    if not isinstance(config, ast.Dict):
        return True
    for key, value in zip(config.keys, config.values, strict=True):
        match key:
            case None:
                return True
            case ast.Constant(value="configurable"):
                return not isinstance(value, ast.Dict) or any(
                    name is None or not isinstance(name, ast.Constant) or name.value == "thread_id"
                    for name in value.keys
                )
    return False


class _Says(AsyncCallbackHandler):
    """Logs a line at the beginning of each node."""

    name = "readiness.says"
    run_inline = True

    async def on_chain_start(
        self, *_: Any, metadata: dict[str, Any] | None = None, **__: Any
    ) -> None:  # Any: LangChain's
        if node := (metadata or {}).get("langgraph_node"):
            logging.getLogger(self.name).warning("node %s begins", node)


@contextmanager
def _logged() -> Iterator[io.StringIO]:
    """Log as JSON, as production does, into a text; afterwards as before."""
    root, written = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    try:
        with redirect_stderr(written):
            configure_logging("INFO", "json")
            yield written
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
