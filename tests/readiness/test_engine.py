"""The engine: what a check that fails says, in which forms, and what waivers, budgets and other packages' checks do."""

import datetime as dt
import json
import os
from xml.etree import ElementTree as ET

import pytest
from harness import Case

CHECK = '''"""{id} {title}: for the tests of the engine."""

from . import Check, Exam, Place

CHECK = Check(
    id="{id}",
    title="{title}",
    level="{level}",
    holds="the tests of the engine say so.",
    why="somebody has to.",
    remedy="say `please`, 100 %: twice.",
    fact="none.",
    not_covered="all else.",
)


def test_it(exam: Exam) -> None:
    {body}
'''
LOOKS = 'exam.look("things", 3)'
FINDS = f'{LOOKS}; exam.find("it is wrong: 100 %, really", Place.of(Check)); exam.find("and this")'
BREAKS = f'{LOOKS}; raise RuntimeError("the check has a bug")'


def add(case: Case, body: str, *, id_: str = "R90", title: str = "politeness", level: str = "error") -> Case:
    """Add a check to a case."""
    return case.write(f"readiness/{id_.lower()}_case.py", CHECK.format(id=id_, title=title, level=level, body=body))


def configure(case: Case, toml: str) -> Case:
    """Add lines to a case's pyproject.toml."""
    file = case.folder / "pyproject.toml"
    file.write_text(f"{file.read_text()}\n{toml}\n")
    return case


def waive(case: Case, **given: object) -> Case:
    """Waive R90."""
    facts = ", ".join(f"{key} = {value}" for key, value in given.items())
    return configure(case, f"[tool.readiness.waivers]\nR90 = {{ {facts} }}")


def day(days: int) -> str:
    """Return the date so many days from today."""
    return str(dt.datetime.now(dt.UTC).date() + dt.timedelta(days=days))


def test_a_check_that_holds_is_a_row_with_what_it_looked_at(case: Case) -> None:
    done = add(case, LOOKS).ready("--only", "R90")
    assert done.returncode == 0, done.stderr
    assert [line.split() for line in done.stdout.splitlines() if line.startswith("R90")] == [
        ["R90", "politeness", "holds", "3", "things", "0.0"]
    ]
    assert "1 of 1 hold" in done.stdout


def test_a_check_that_fails_names_everything_and_the_remedy(case: Case) -> None:
    done = add(case, FINDS).ready("--only", "r90")
    assert done.returncode == 1
    for text in (
        "src/acme_agent/readiness/engine/check.py:",
        "it is wrong: 100 %, really",
        "and this",
        "To mend: say `please`",
    ):
        assert text in done.stdout
    assert "docs/standard.md#r90-politeness" in done.stdout
    assert "0 of 1 hold" in done.stdout


def test_a_check_that_looks_at_nothing_fails(case: Case) -> None:
    verdicts = add(case, "pass").verdicts(["R90"])
    assert verdicts.failing == {"R90"}
    assert "looked at nothing" in verdicts.problems("R90")


def test_a_check_that_looks_at_nothing_fails_though_its_tests_run_in_workers(case: Case) -> None:
    done = add(case, "pass").ready("--only", "R90", "--format", "json", "--", "-n", "2")
    assert json.loads(done.stdout)["checks"][0]["result"] == "fails"
    assert done.returncode == 1


def test_a_check_that_breaks_fails(case: Case) -> None:
    verdicts = add(case, BREAKS).verdicts(["R90"])
    assert "test_it broke: RuntimeError: the check has a bug" in verdicts.problems("R90")


def test_a_warning_fails_nothing_unless_the_project_says_so(case: Case) -> None:
    add(case, FINDS, level="warning")
    done = case.ready("--only", "R90", "--format", "json")
    assert json.loads(done.stdout)["checks"][0]["result"] == "warns"
    assert done.returncode == 0, done.stderr
    configure(case, '[tool.readiness]\nerrors = ["R90"]')
    assert case.ready("--only", "R90").returncode == 1


def test_the_organisation_makes_an_error_of_a_warning(case: Case) -> None:
    file = case.folder / "readiness.toml"
    file.write_text(file.read_text().replace("errors = []", 'errors = ["R90"]'))
    assert add(case, FINDS, level="warning").verdicts(["R90"]).failing == {"R90"}


def test_a_waived_check_fails_nothing_and_is_told(case: Case) -> None:
    waive(add(case, FINDS), reason='"they will learn, AGENT-12"', until=day(30))
    done = case.ready("--only", "R90")
    assert done.returncode == 0, done.stderr
    assert "waived" in done.stdout
    assert f"waived until {day(30)}: they will learn, AGENT-12" in done.stdout
    assert "0 of 1 hold, 1 waived" in done.stdout


def test_a_waiver_that_is_not_needed_is_told(case: Case) -> None:
    waive(add(case, LOOKS), reason='"old"', until=day(30))
    assert "R90 holds, so its waiver is not needed any more" in case.ready("--only", "R90").stdout
    assert "::warning title=waiver not needed::" in case.ready("--only", "R90", "--format", "github").stdout


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"until": day(30)}, "write R90 = "),
        ({"reason": '"x"'}, "write R90 = "),
        ({"reason": '" "', "until": day(30)}, "the reason is empty"),
        ({"reason": '"x"', "until": f'"{day(30)}"'}, "until is no date"),
        ({"reason": '"x"', "until": day(-1)}, "it ran out on"),
        ({"reason": '"x"', "until": day(367)}, "is over a year away"),
    ],
    ids=["no-reason", "no-date", "empty-reason", "no-toml-date", "passed", "too-far"],
)
def test_a_bad_waiver_stops_the_checks(case: Case, given: dict[str, object], said: str) -> None:
    done = waive(add(case, FINDS), **given).ready("--only", "R90")
    assert done.returncode not in {0, 1}
    assert "[tool.readiness.waivers] R90" in done.stdout + done.stderr
    assert said in done.stdout + done.stderr


def test_a_waiver_of_no_check_stops_the_checks(case: Case) -> None:
    configure(add(case, LOOKS), f'[tool.readiness.waivers]\nR99 = {{ reason = "x", until = {day(1)} }}')
    done = case.ready("--only", "R90")
    assert done.returncode not in {0, 1}
    assert "there is no such check" in done.stderr


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ("checkpoint_kb = 51", "the standard allows 50 at most"),
        ("colour = 1", "colour: Extra inputs"),
        ("stall_ms = 0", "stall_ms"),
    ],
    ids=["looser", "unknown", "nonsense"],
)
def test_a_project_only_tightens_budgets(case: Case, budget: str, said: str) -> None:
    configure(add(case, LOOKS.replace("exam.look", "budgets; exam.look")), f"[tool.readiness.budgets]\n{budget}")
    case.replace("readiness/r90_case.py", "test_it(exam: Exam)", "test_it(exam: Exam, budgets)")
    done = case.ready("--only", "R90")
    assert done.returncode != 0
    assert said in done.stdout + done.stderr


def test_a_tightened_budget_is_what_checks_get(case: Case) -> None:
    add(case, f"{LOOKS}; exam.require(budgets.checkpoint_kb == 20, str(budgets))")
    case.replace("readiness/r90_case.py", "test_it(exam: Exam)", "test_it(exam: Exam, budgets)")
    configure(case, "[tool.readiness.budgets]\ncheckpoint_kb = 20")
    assert not case.verdicts(["R90"]).failing


def test_reports_for_machines(case: Case) -> None:
    """SARIF and JUnit parse; annotations escape what GitHub reads as its own; a report goes into a file, too."""
    add(case, FINDS)
    file = case.folder / "report.md"
    sarif = json.loads(case.ready("--only", "R90", "--format", "sarif", "--report", f"markdown:{file}").stdout)
    (run,) = sarif["runs"]
    assert [result["ruleId"] for result in run["results"]] == ["R90", "R90"]
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "src/acme_agent/readiness/engine/check.py"
    assert place["region"]["startLine"] > 1
    assert "| R90 | politeness | **fails** | 3 things | 0.0 |" in file.read_text()

    annotations = case.ready("--only", "R90", "--format", "github").stdout.splitlines()
    assert annotations[0].startswith("::error file=src/acme_agent/readiness/engine/check.py,line=")
    assert "title=R90 politeness::it is wrong: 100 %25, really To mend" in annotations[0]

    suite = ET.fromstring(case.ready("--only", "R90", "--format", "junit").stdout)
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")


def test_an_organisations_check_comes_by_an_entry_point(case: Case) -> None:
    """The example of docs/standard.md, as it stands there, in an installed package."""
    page = (case.package / "readiness" / "engine" / "page.md").read_text()
    lines = page.partition("# our_standard/org1_tags.py")[2].partition("# What enforces what")[0].splitlines()[1:]
    site = case.folder / "site"
    module = site / "our_standard" / "org1_tags.py"
    module.parent.mkdir(parents=True)
    (module.parent / "__init__.py").touch()
    module.write_text("\n".join(line[4:] for line in lines).replace("support_agent", "acme_agent"))
    info = site / "our_standard-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: our-standard\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[langgraph_agent.readiness]\ntags = our_standard.org1_tags\n")
    path = os.pathsep.join([str(case.folder / "src"), str(site)])
    done = case.ready("--only", "ORG1", "--format", "json", PYTHONPATH=path)
    (verdict,) = json.loads(done.stdout)["checks"]
    assert verdict["looked_at"]["nodes"] > 5
    assert verdict["result"] == "holds"


def test_unknown_check_and_scenario_are_told(case: Case) -> None:
    done = case.ready("--only", "R77")
    assert "there is no check R77: take of R01" in done.stdout + done.stderr
    done = case.ready("--only", "R08", "--scenario", "nope")
    assert "no scenario is called 'nope'" in done.stdout + done.stderr


def test_two_checks_of_one_id_are_told(case: Case) -> None:
    add(case, LOOKS)
    add(case, LOOKS, id_="R91").replace("readiness/r91_case.py", 'id="R91"', 'id="R90"')
    done = case.ready("--only", "R90")
    assert "are both R90: rename one" in done.stdout + done.stderr
