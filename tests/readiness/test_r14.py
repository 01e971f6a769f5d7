"""R14: a thread that waits while its team deploys is lost, or starts a node that cannot read what it finds."""

import shutil
from pathlib import Path

import pytest
from harness import Case, assert_fails, assert_holds
from project import NAME, Project

RENAME = (
    ('add_node("collect"', 'add_node("gather"'),
    ('add_edge("search", "collect")', 'add_edge("search", "gather")'),
    ('add_conditional_edges("collect"', 'add_conditional_edges("gather"'),
)
WRITES = '"docs": state.get("docs") or str(settings_of(runtime).docs)}'


@pytest.fixture(scope="session")
def recorded(sqlite_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `record` keeps of a fresh project: a folder for its release, in one for all."""
    folder = tmp_path_factory.mktemp("recorded")
    sqlite_project.run(
        str(sqlite_project.folder / ".venv" / "bin" / NAME), "record", "--release", "1.0", "--folder", str(folder)
    )
    return folder


@pytest.fixture
def released(case: Case, recorded: Path) -> Case:
    """A project that recorded its release, and goes on being developed."""
    shutil.copytree(recorded, case.folder / "tests" / "inflight")
    return case


def rename(case: Case) -> Case:
    """Give a node another name."""
    for old, new in RENAME:
        case.replace("agent/graph.py", old, new)
    return case


def test_what_is_recorded_is_small(recorded: Path) -> None:
    """It is kept in the repository, at each release."""
    files = sorted((recorded / "1.0").iterdir())
    assert [file.stem for file in files][:2] == ["approval-given", "approval-refused"]
    assert sum(file.stat().st_size for file in files) < 200_000


def test_a_renamed_node_loses_threads_that_stop_at_it(released: Case) -> None:
    """By itself LangGraph takes such a thread for one that is over, and says nothing."""
    said = ("scenario straight-pass of release 1.0, left after superstep", "stops at 'collect'", "RENAMED")
    assert_fails(rename(released), "R14", *said, scenario="straight-pass")


def test_a_renamed_node_that_is_registered(released: Case) -> None:
    """Near miss: `RENAMED` has it."""
    rename(released).replace("agent/migrations.py", "str] = {}", 'str] = {"collect": "gather"}')
    assert_holds(released, "R14", scenario="straight-pass")


def needs_a_title(case: Case) -> Case:
    """Have the first node write a new key, and the last one read it, after a person has approved."""
    return (
        case.replace("agent/state.py", "    question: str\n", "    question: str\n    title: str\n")
        .replace("agent/search.py", WRITES, '"title": state["question"].title(), ' + WRITES)
        .replace("agent/finish.py", 'publish, settings_of(runtime).data_dir, key, state["question"]', TITLED)
    )


TITLED = 'publish, settings_of(runtime).data_dir, key, state["title"]'


def test_a_key_that_older_threads_lack(released: Case) -> None:
    """New threads work, so every test of the team passes; those that wait for an approval fail once it is given."""
    assert_fails(
        needs_a_title(released),
        "R14",
        "left after superstep 1, and at 7 more of 12 places, is failed: deliver: KeyError: 'title'",
        scenario="approval-given",
    )


def test_a_key_that_older_threads_get(released: Case) -> None:
    """Near miss: a migration makes it of what they have."""
    title = '{1: lambda state: {"title": state["question"].title()} if "question" in state else {}}'
    needs_a_title(released).replace("agent/migrations.py", "dict[str, Any]]] = {}", f"dict[str, Any]]] = {title}")
    assert_holds(released, "R14", scenario="approval-given")


def test_a_scenario_that_is_gone(released: Case) -> None:
    """A path that is not tested any more has threads on it still."""
    released.replace("agent/offline_scenarios.py", '        _scenario("nothing-found"', "        # ")
    released.replace("agent/offline_scenarios.py", ', "Who painted', "Who painted")
    assert_fails(released, "R14", "scenario nothing-found, and scenarios() does not", scenario="straight-pass")


def test_another_cap_ends_old_threads_as_it_ends_new_ones(released: Case) -> None:
    """Near miss: a run that failed for its scripted reason fails so on new code, though the number is another."""
    released.replace("agent/routing.py", "MAX_REVISIONS = 3", "MAX_REVISIONS = 2")
    released.replace("agent/offline_scenarios.py", 'verdict="escalate", revisions=3', 'verdict="escalate", revisions=2')
    assert_holds(released, "R14", scenario="never-satisfied")


SCHEMA = '        response_schema={"type": "string", "minLength": 1},\n'


def test_a_question_that_takes_other_answers_now(released: Case) -> None:
    """Today no words at all mean yes; whoever was asked before has a question that wants some."""
    released.replace("agent/finish.py", SCHEMA, SCHEMA.replace(', "minLength": 1', ""))
    released.replace("agent/finish.py", '        case "yes" | "y":', '        case "" | "yes" | "y":')
    asked = '"How long is the loan period?", approval=True, answers=("yes",)'
    released.replace("agent/offline_scenarios.py", asked, asked.replace('"yes"', '""'))
    said = ("left waiting for an answer to approve", "is failed: WrongRequest")
    assert_fails(released, "R14", *said, scenario="approval-given")


def test_a_second_question_that_takes_less(case: Case) -> None:
    """Near miss: after the first wish only a decision is taken. Who had answered once has one answer left."""
    decision = '        response_schema={"enum": ["yes", "no"]} if state["revisions"] else {"type": "string"},\n'
    case.replace("agent/finish.py", SCHEMA, decision)
    assert_holds(case, "R14", scenario="approval-with-changes")


def test_a_failure_with_a_number_of_its_own(released: Case) -> None:
    """Near miss: what a run fails with names an incident, which is another one each time."""
    failure = '    failure = f"not approved'
    released.replace("agent/finish.py", failure, '    failure = f"incident {uuid4()}: not approved')
    imported = "from typing import Literal\n"
    released.replace("agent/finish.py", imported, f"{imported}from uuid import uuid4\n")
    assert_holds(released, "R14", scenario="never-satisfied")


def test_without_a_release(case: Case) -> None:
    """Near miss: a fresh project has recorded nothing, and is gone on with as it is."""
    verdicts = assert_holds(case, "R14", scenario="approval-with-changes")
    assert verdicts.checks["R14"]["looked_at"]["places to go on from"] > 15
