"""R08 crash and resume: each break is one that a team could make."""

import pytest
from harness import Case, assert_holds

BREAKS: dict[str, tuple[str, list[tuple[str, str, str]]]] = {
    "durability exit": (
        "ran again",
        [
            ("runs/execution.py", 'DURABILITY: Durability = "sync"', 'DURABILITY: Durability = "exit"'),
        ],
    ),
    "durability async and a node that blocks": (
        "ran again",
        [
            ("runs/execution.py", 'DURABILITY: Durability = "sync"', 'DURABILITY: Durability = "async"'),
            (
                "agent/write.py",
                '    feedback = state.get("feedback", "") if',
                '    __import__("time").sleep(0.2)\n    feedback = state.get("feedback", "") if',
            ),
        ],
    ),
    "an effect without a key": (
        "has other effects",
        [
            (
                "effects.py",
                'return str(uuid5(_NAMESPACE, f"{execution.thread_id}/{execution.task_id}/{label}"))',
                'return str(__import__("uuid").uuid4())',
            ),
        ],
    ),
    "a result of chance": (
        "ends in another state",
        [
            (
                "agent/finish.py",
                '    return {"messages": [AIMessage(state["answer"])]}',
                '    return {"messages": [AIMessage(key)]}',
            ),
        ],
    ),
    "the input sent again after a crash": (
        "ends in another state",
        [
            ("runs/execution.py", 'return None, ""', 'return dict(snapshot.values), ""'),
            # LangGraph takes an input with the run id of the newest checkpoint for a re-entry.
            ("runs/config.py", '"run_id": run,', '"run_id": str(id(object())),'),
        ],
    ),
}


@pytest.mark.parametrize("broken", BREAKS)
def test_it_finds(case: Case, broken: str) -> None:
    """R08 alone: what a change to the template's own rooms breaks besides is not what a team would see first."""
    said, changes = BREAKS[broken]
    for change in changes:
        case.replace(*change)
    verdicts = case.verdicts(["R08"], scenario="straight-pass")
    assert verdicts.failing == {"R08"}
    assert said in verdicts.problems("R08")


def test_a_keyed_effect_in_a_node_of_ones_own_holds(case: Case) -> None:
    """A node that notes something under a key, next to the one that publishes."""
    case.replace(
        "agent/finish.py",
        '    return {"messages": [AIMessage(state["answer"])]}',
        '    note = idempotency_key(runtime.execution_info, "note")\n'
        '    await asyncio.to_thread(notify, settings_of(runtime).data_dir, note, "delivered")\n'
        '    return {"messages": [AIMessage(state["answer"])]}',
    )
    assert_holds(case, "R08", scenario="straight-pass")


def test_an_answer_that_is_lost_is_given_again(case: Case) -> None:
    """Nothing is wrong with a scenario that is asked twice."""
    assert_holds(case, "R08", scenario="approval-with-changes")
