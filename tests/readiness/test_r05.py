"""R05 summarisation: compactions that do nothing, tear tool calls from their results, or lose the question."""

from harness import Case, assert_fails, assert_holds

LONG = "long-conversation"
UPDATE = '    update = [RemoveMessage(REMOVE_ALL_MESSAGES), HumanMessage(f"[Summary] {summary.text}"), *newest]\n'
RETURN = '    return {"messages": cast("list[AnyMessage]", update)}'
NEWEST = '    newest = await _newest(state["messages"], runtime)\n    older'


def test_a_compaction_that_does_nothing(case: Case) -> None:
    """A template's defect: the node rebinds state["messages"] and does not return it."""
    case.replace("agent/memory.py", RETURN, '    state["messages"] = cast("list[AnyMessage]", update)\n    return {}')
    assert_fails(case, "R05", "turn 2: the channel `messages` is not cut: it holds 3,", scenario=LONG)


def test_a_summary_that_is_appended(case: Case) -> None:
    """Without RemoveMessage the reducer keeps what the summary was to replace."""
    case.replace("agent/memory.py", UPDATE, '    update = [HumanMessage(f"[Summary] {summary.text}"), *newest]\n')
    assert_fails(case, "R05", "the channel `messages` is not cut", scenario=LONG)


def test_no_summary_at_all(case: Case) -> None:
    """A conversation is made from a short scenario: nobody has written a long one here."""
    case.replace("agent/memory.py", "SUMMARIZE_AT = 3000", "SUMMARIZE_AT = 30_000")
    assert_fails(
        case, "R05", "scenario straight-pass, turn 1: the channel `messages` is not cut", scenario="straight-pass"
    )


def test_a_cut_between_a_tool_call_and_its_result(case: Case) -> None:
    """The last so many messages, wherever that is."""
    case.replace("agent/memory.py", NEWEST, '    newest = state["messages"][-3:]\n    older')
    said = "the channel `messages` has 1 results without their tool call, such as call-25"
    assert_fails(case, "R05", said, scenario=LONG)


def test_the_question_goes_into_the_summary(case: Case) -> None:
    """The newest human message is summarised with the rest."""
    case.replace("agent/memory.py", UPDATE, UPDATE.replace(", *newest", ""))
    said = "has lost the newest human message: ['Can a reserved book be renewed?']"
    assert_fails(case, "R05", said, scenario=LONG)


def test_a_model_is_given_all_that_was_ever_said(case: Case) -> None:
    """The messages are cut, but their text goes on in another channel and into every prompt."""
    case.replace("agent/state.py", "    answer: str\n", "    log: str\n    answer: str\n")
    case.replace("agent/memory.py", RETURN, RETURN.replace("}", ', "log": transcript(whole(older))}'))
    case.replace("agent/write.py", "history=transcript", 'history=state.get("log", "") + transcript')
    toml = case.folder / "pyproject.toml"
    toml.write_text(
        f"{toml.read_text()}\n[tool.readiness.budgets]\nsummary_tokens = 1500\n"
    )  # the text alone is over that
    said = "turn 2: node synthesize gives a model 1,6"
    assert_fails(case, "R05", said, scenario=LONG)


def test_the_last_few_messages_for_a_model(case: Case) -> None:
    """The state is whole, but what a model is given of it begins in the middle."""
    case.replace(
        "agent/write.py", '    answer = ""\n', '    prompt = [*state["messages"][-3:], *prompt]\n    answer = ""\n'
    )
    said = "node synthesize gives a model a prompt that has 1 results without their tool call, such as call-25"
    assert_fails(case, "R05", said, scenario=LONG)


def test_removing_by_id_holds(case: Case) -> None:
    """A near miss: the old messages are removed one by one, the summary comes last."""
    removed = '*(RemoveMessage(message.id or "") for message in older)'
    update = UPDATE.replace("RemoveMessage(REMOVE_ALL_MESSAGES)", removed).replace(", *newest", "")
    case.replace("agent/memory.py", UPDATE, update)
    assert_holds(case, "R05", scenario=LONG)


def test_overwriting_holds(case: Case) -> None:
    """A near miss: no RemoveMessage, but Overwrite."""
    case.replace("agent/memory.py", UPDATE, '    update = [HumanMessage(f"[Summary] {summary.text}"), *newest]\n')
    case.replace(
        "agent/memory.py", RETURN, '    return {"messages": Overwrite(update)}  # type: ignore[typeddict-item]'
    )
    case.replace(
        "agent/memory.py",
        "from langgraph.runtime import Runtime\n",
        "from langgraph.runtime import Runtime\nfrom langgraph.types import Overwrite\n",
    )
    assert_holds(case, "R05", scenario=LONG)


def test_long_documents_in_a_prompt_hold(case: Case) -> None:
    """A near miss: a prompt over the budget, of which the conversation is a small part."""
    case.replace("agent/prompts.py", '_REVIEW = """', '_REVIEW = "A rule of the house: be kind. " * 800 + """')
    assert_holds(case, "R05", scenario="straight-pass")


def test_who_makes_the_summary_is_given_all(case: Case) -> None:
    """A near miss: the text to be summarised is over the budget, or there would be nothing to summarise."""
    toml = case.folder / "pyproject.toml"
    toml.write_text(f"{toml.read_text()}\n[tool.readiness.budgets]\nsummary_tokens = 1500\n")
    assert_holds(case, "R05", scenario=LONG)


def test_a_conversation_that_was_torn_before_holds(case: Case) -> None:
    """A near miss: the caller brings a call without its result, as a crash leaves one. The graph did not tear it."""
    torn = 'AIMessage("", id="torn", tool_calls=[{"name": "catalogue", "args": {}, "id": "torn"}])'
    case.replace("agent/offline_scenarios.py", "    return tuple(turns)\n", f"    return (*turns, {torn})\n")
    assert_holds(case, "R05", scenario=LONG)
