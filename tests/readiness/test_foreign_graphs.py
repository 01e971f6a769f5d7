"""Graphs that are not the example come through the door, and get the verdicts that they deserve."""

import shutil
from pathlib import Path

import pytest
from harness import HEAVY, Case, light

FOREIGN = Path(__file__).with_name("foreign")


def through_the_door(case: Case, name: str, *changes: tuple[str, str]) -> Case:
    """Put a foreign graph in the place of the example, with changes made to its source."""
    text = (FOREIGN / f"{name}.py").read_text()
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    shutil.rmtree(case.package / "agent")
    return case.write("agent/__init__.py", text)


@pytest.mark.parametrize("name", ["tool_loop", "map_reduce", "approvals"])
def test_a_sound_graph_holds_on_every_check(case: Case, name: str) -> None:
    verdicts = through_the_door(case, name).verdicts(light(case.installed) | HEAVY)
    problems = {id_: verdicts.problems(id_) for id_ in verdicts.checks if verdicts.checks[id_]["result"] != "holds"}
    assert not problems, problems
    assert all(verdict["looked_at"] for verdict in verdicts.checks.values())


VIOLATIONS = {
    "R04": ("tool_loop", ("Annotated[list[float], operator.add]", "list[float]"), "costs"),
    "R06": ("tool_loop", ('if state["calls"] > MAX_CALLS:', "if not calls:"), "never enough"),
    "R13": ("approvals", ('"who": "manager"}, response_schema=ANSWER)', '"who": "manager"})'), "manager"),
}


@pytest.mark.parametrize("id_", VIOLATIONS)
def test_a_violation_in_a_foreign_graph_is_found(case: Case, id_: str) -> None:
    name, change, said = VIOLATIONS[id_]
    verdicts = through_the_door(case, name, change).verdicts([id_])
    assert verdicts.failing == {id_}
    assert said in verdicts.problems(id_)
