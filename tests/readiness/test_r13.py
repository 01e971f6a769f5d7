"""R13: questions without an end, without a schema, and answers without an address; and what only looks like that."""

from harness import Case, assert_fails, assert_holds

SCHEMA = '        response_schema={"type": "string", "minLength": 1},\n'
IMPORT = "from langgraph.types import Command, interrupt\n"


def test_an_interrupt_without_a_schema(case: Case) -> None:
    case.replace("agent/finish.py", SCHEMA, "")
    assert_fails(
        case,
        "R13",
        "interrupt() has no response_schema",
        "the question of node approve takes any answer",
        scenario="approval-given",
    )


def test_a_schema_that_allows_anything(case: Case) -> None:
    case.replace("agent/finish.py", SCHEMA, "        response_schema={},\n")
    assert_fails(case, "R13", "interrupt(response_schema={}) allows any answer", scenario="approval-given")


def test_questions_that_never_expire(case: Case) -> None:
    case.replace(
        "settings.py", "approval_hours: float | None = Field(72,", "approval_hours: float | None = Field(None,"
    )
    assert_fails(
        case,
        "R13",
        "questions never expire: approval_hours is None",
        "the question of node approve never expires",
        scenario="approval-given",
    )


def test_an_answer_that_goes_to_whichever_question_is_next(case: Case) -> None:
    """A service that takes a user's message for the answer whenever the thread has a next node."""
    case.write(
        "service.py",
        "from langgraph.types import Command\n\n\n"
        "async def chat(graph, text: str, thread: str):\n"
        '    config = {"configurable": {"thread_id": thread}}\n'
        "    return await graph.ainvoke(Command(resume=text), config)\n\n\n"
        "async def approve(graph, thread: str):\n"
        '    config = {"configurable": {"thread_id": thread}}\n'
        '    return await graph.ainvoke(Command(resume={"approved": True}), config)\n',
    )
    assert_fails(case, "R13", "Command(resume=text)", "Command(resume={'approved': True})", scenario="straight-pass")


def test_a_question_as_it_was_asked_before_langgraph_1(case: Case) -> None:
    case.write(
        "agent/limits.py",
        "from langgraph.errors import NodeInterrupt\n\n\n"
        "async def check_length(text: str) -> None:\n"
        "    if len(text) > 500:\n"
        '        raise NodeInterrupt("This is long: go on?")\n',
    )
    assert_fails(case, "R13", "NodeInterrupt asks without a response schema", scenario="straight-pass")


def test_a_breakpoint_is_no_question(case: Case) -> None:
    case.replace("agent/search.py", ".compile(checkpointer=False)", ".compile(checkpointer=False, interrupt_before=[])")
    assert_fails(case, "R13", "compile(interrupt_before=...) stops without a question", scenario="straight-pass")


def test_answers_by_id_and_a_schema_that_is_a_type(case: Case) -> None:
    """Innocent: the module under another name, a type for a schema, and a map of answers that has a name."""
    case.replace("agent/finish.py", IMPORT, "from langgraph import types as lg\nfrom langgraph.types import Command\n")
    case.replace("agent/finish.py", "reply = interrupt(", "reply = lg.interrupt(")
    case.replace("agent/finish.py", SCHEMA, "        response_schema=Reply,\n")
    case.replace("agent/finish.py", "LONGEST_ERROR = 500", "Reply = str\nLONGEST_ERROR = 500")
    case.write(
        "service.py",
        "from langgraph.types import Command\n\n\n"
        "async def approve(graph, thread: str, given: dict[str, str], first: str):\n"
        '    config = {"configurable": {"thread_id": thread}}\n'
        "    answers = {id_: value for id_, value in given.items()}\n"
        "    await graph.ainvoke(Command(resume=given), config)\n"
        '    await graph.ainvoke(Command(resume={first: "yes"}), config)\n'
        "    return await graph.ainvoke(Command(resume=answers), config)\n",
    )
    verdicts = assert_holds(case, "R13", scenario="approval-given")
    assert verdicts.checks["R13"]["looked_at"]["answers"] == 3
    assert verdicts.checks["R13"]["looked_at"]["questions"] == 1


def test_a_graph_that_never_asks(case: Case) -> None:
    """Innocent: without a question there is nothing that could expire."""
    case.replace(
        "settings.py", "approval_hours: float | None = Field(72,", "approval_hours: float | None = Field(None,"
    )
    case.replace("agent/finish.py", IMPORT, "from langgraph.types import Command\n")
    text = (case.package / "agent/finish.py").read_text()
    asked = text[text.index("interrupt(\n") : text.index("    match str(reply)")]
    case.replace("agent/finish.py", asked, '"yes"\n')
    assert_holds(case, "R13", scenario="straight-pass")
