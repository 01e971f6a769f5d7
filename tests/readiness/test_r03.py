"""R03 state is lean: documents in the state, and what grows from turn to turn."""

from harness import Case, assert_fails, assert_holds

SHORT = "straight-pass"
REDUCER = "    passages: Annotated[list[str], union]"
PLAN = '    return {"searches": searches'


def test_a_document_in_the_state(case: Case) -> None:
    """The passages' text is kept for the next node, as it is quickest to write."""
    case.replace("agent/state.py", "    answer: str\n", "    texts: str\n    answer: str\n")
    case.replace(
        "agent/search.py", PLAN, '    return {"texts": "All that the handbook says. " * 700, "searches": searches'
    )
    said = "node plan writes a text of 19.6 kB into `texts`, 16 kB at most"
    assert_fails(case, "R03", said, scenario=SHORT)


def test_many_passages_in_the_state(case: Case) -> None:
    """None of them is a document, and together they are over what a checkpoint may have."""
    case.replace("agent/state.py", "    answer: str\n", "    texts: list[dict[str, str]]\n    answer: str\n")
    texts = '[{"id": str(at), "text": "All that the handbook says. " * 30} for at in range(70)]'
    case.replace("agent/search.py", PLAN, f'    return {{"texts": {texts}, "searches": searches')
    assert_fails(case, "R03", "kB, 50 at most; `texts` alone has 59.8", scenario=SHORT)


def test_a_document_on_its_way_to_a_branch(case: Case) -> None:
    """It is in no channel of the state: Send stores it with the checkpoint."""
    case.replace(
        "agent/state.py", "    query: str\n    docs: str\n", "    query: str\n    docs: str\n    book: bytes\n"
    )
    case.replace("agent/routing.py", 'docs=state["docs"])', 'docs=state["docs"], book=b"page" * 5000)')
    assert_fails(case, "R03", "a text of 20.0 kB into `__pregel_tasks`", scenario=SHORT)


def test_a_list_that_no_turn_begins_anew(case: Case) -> None:
    """What a turn has found is added to what all turns before it have found."""
    case.replace("agent/state.py", REDUCER, f"    log: Annotated[list[str], operator.add]\n{REDUCER}")
    case.replace("agent/state.py", "from typing import", "import operator\nfrom typing import")
    case.replace("agent/search.py", PLAN, '    return {"log": [state["question"]], "searches": searches')
    said = "turn after turn on one thread: `log` grows and grows"
    verdicts = assert_fails(case, "R03", said, "written by plan", scenario=SHORT)
    assert "search.py" in str(verdicts.checks["R03"]["problems"])


def test_a_mark_for_each_turn(case: Case) -> None:
    """A byte a turn is no matter of size, and still has no end."""
    case.replace("agent/state.py", "    answer: str\n", "    turns: list[int]\n    answer: str\n")
    case.replace("agent/search.py", PLAN, '    return {"turns": [*state.get("turns", []), 1], "searches": searches')
    assert_fails(case, "R03", "turn after turn on one thread: `turns` grows and grows", scenario=SHORT)


def test_messages_with_more_than_their_text(case: Case) -> None:
    """No summary would cut them yet: by their text, which tokens are counted of, they are short."""
    message = '{"messages": [AIMessage(state["answer"]'
    case.replace("agent/finish.py", f"{message})]", f'{message}, additional_kwargs={{"trace": "step " * 600}})]')
    assert_fails(case, "R03", "after 8 turns: 16 messages in `messages` are", "at most with a summary", scenario=SHORT)


def test_what_is_kept_up_to_a_bound_holds(case: Case) -> None:
    """A near miss: it grows for ten turns, and then no more; and a text of just under the budget."""
    case.replace("agent/state.py", "    answer: str\n", "    log: list[str]\n    texts: str\n    answer: str\n")
    log = '[*state.get("log", []), state["question"]][-10:]'
    texts = '"All that the handbook says. " * 570'
    case.replace("agent/search.py", PLAN, f'    return {{"log": {log}, "texts": {texts}, "searches": searches')
    assert_holds(case, "R03", scenario=SHORT)


def test_a_long_conversation_holds(case: Case) -> None:
    """A near miss: messages grow up to the bound of the summary, and so does a number of turns."""
    case.replace("agent/state.py", "    answer: str\n", "    turns: int\n    answer: str\n")
    case.replace("agent/search.py", PLAN, '    return {"turns": state.get("turns", 0) + 1, "searches": searches')
    assert_holds(case, "R03", scenario="long-conversation")
