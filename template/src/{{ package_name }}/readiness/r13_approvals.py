"""R13 approvals: a question to a person says when it was asked, until when it is open, and which answers it takes.

The source is searched for every `interrupt(...)` and every `Command(resume=...)`, and the questions that the scenarios
have asked are looked at as they are in the ledger.
"""

import ast
import inspect
import re
from pathlib import Path

from pydantic_core import PydanticUndefined

from ..agent import AgentSettings
from ..scenario import Scenario
from .engine.check import Check, Exam, Place
from .playing.play import Plays
from .source import nodes as source
from .source.imported import argument, assigned, calls, is_open

ASKS = "langgraph.types.interrupt"
ANSWERS = "langgraph.types.Command"
DEPRECATED = "langgraph.errors.NodeInterrupt"
PAUSES = ("interrupt_before", "interrupt_after")
QUESTION_ID = re.compile(r"[0-9a-f]{32}")

CHECK = Check(
    id="R13",
    title="approvals",
    holds="every interrupt has a timestamp, an expiry and a response schema, and answers go by the question's id.",
    why="a question without an end waits for ever with nobody told, one without a schema takes any answer for a"
    " decision, and an answer without an id can decide the next question.",
    remedy='write `interrupt(proposal, response_schema={"type": "string", "minLength": 1})`; keep `approval_hours` in'
    " `settings.py` at a number; answer through `Runs.answer(thread, value, question=...)`, never with"
    " `Command(resume=value)`.",
    fact="two interrupts in one node, and a `Command(resume=value)` that was sent again: the first answer decided the"
    " second question, too. On a thread that never ran it starts the graph with an empty input; of two at once both ran"
    " the side effect (LangGraph 1.2.22).",
    not_covered="whether the schema is strict enough, who may answer, and whether somebody reads what the expiry says:"
    " it reminds in the log unless `APPROVAL_EXPIRY` is `reject`.",
)


def test_source_asks_with_a_schema(exam: Exam) -> None:
    """Each interrupt in the source takes only answers that it describes, and each answer in it goes by id."""
    exam.look("nodes", len(source.nodes()))
    asking = False
    for file in source.files():
        for call, name, place in calls(file):
            if name == ASKS:
                asking = True
                exam.look("interrupts")
                _check_schema(call, place, exam)
            elif name == ANSWERS:
                _check_answer(call, file, place, exam)
            elif name == DEPRECATED:
                exam.find(
                    "NodeInterrupt asks without a response schema: call interrupt(..., response_schema=...)", place
                )
            elif isinstance(call.func, ast.Attribute) and call.func.attr == "compile":
                for pause in filter(lambda name: argument(call, name), PAUSES):
                    exam.find(f"compile({pause}=...) stops without a question, which never expires: interrupt()", place)
    if asking:
        _check_default(exam)


def test_questions_are_complete(scenario: Scenario, plays: Plays, exam: Exam) -> None:
    """What the scenario asks has a time, an expiry and a schema in the ledger."""
    played = plays.of(scenario)
    exam.look("scenarios")
    for question in played.questions:
        exam.look("questions")
        place = next((node.place for node in source.nodes() if node.name == question.node), None)
        asked = f"scenario {scenario.name}: the question of node {question.node}"
        exam.require(question.asked_at.tzinfo, f"{asked} has no time with a zone: {question.asked_at}", place)
        exam.require(
            question.until and question.until > question.asked_at,
            f"{asked} never expires: approval_hours is {played.settings.approval_hours}",
            place,
        )
        exam.require(
            question.schema, f"{asked} takes any answer: its response schema in the ledger is {question.schema}", place
        )
    if played.questions:
        _check_default(exam)


def _check_schema(call: ast.Call, place: Place, exam: Exam) -> None:
    schema = argument(call, "response_schema")
    if schema is None:
        exam.require(is_open(call), "interrupt() has no response_schema, so any answer is a decision", place)
    elif isinstance(schema, ast.Constant) or (isinstance(schema, ast.Dict) and not schema.keys):
        exam.find(f"interrupt(response_schema={ast.unparse(schema)}) allows any answer", place)


def _check_answer(call: ast.Call, file: Path, place: Place, exam: Exam) -> None:
    """Find an answer that names no question. What Runs itself does is in the room `runs`."""
    answer = argument(call, "resume", 2)
    if answer is None or file.relative_to(source.PACKAGE).parts[0] == "runs":
        return
    exam.look("answers")
    if not _is_by_id(answer, file):
        exam.find(
            f"Command(resume={ast.unparse(answer)}) does not say which question it answers: the next one takes it",
            place,
        )


def _is_by_id(answer: ast.expr, file: Path) -> bool:
    """Return whether an answer is a dict with ids for keys. LangGraph takes another one for the answer as a whole."""
    if isinstance(answer, ast.Dict):
        plain = [key.value for key in answer.keys if isinstance(key, ast.Constant)]
        return bool(answer.keys) and all(QUESTION_ID.fullmatch(str(key)) for key in plain)
    if isinstance(answer, ast.Name):
        values, annotations = assigned(answer.id, file)
        return any(_is_by_id(value, file) for value in values if not isinstance(value, ast.Name)) or any(
            re.match(r"(dict|Mapping|MutableMapping)\[", annotation) for annotation in annotations
        )
    return isinstance(answer, ast.DictComp)


def _check_default(exam: Exam) -> None:
    """Find the expiry that a deployment has which does not set its own."""
    default = AgentSettings.model_fields["approval_hours"].get_default(call_default_factory=True, validated_data={})
    owner = next(kind for kind in AgentSettings.__mro__ if "approval_hours" in inspect.get_annotations(kind))
    exam.require(
        default is PydanticUndefined or (isinstance(default, int | float) and default > 0),
        f"questions never expire: approval_hours is {default} unless APPROVAL_HOURS is set",
        Place.of(owner),
    )
