"""The engine: pytest runs the checks, and this plugin makes their verdicts.

A test belongs to a check when its module has a `CHECK`. What it looked at and found travels in its report's
`user_properties`, which xdist hands from its workers to the process that makes the verdicts. A finding fails the test,
with the check's remedy; a waiver, or the level `warning`, makes an expected failure of that.
"""

import dataclasses
import datetime as dt
import json
from collections.abc import Generator
from functools import cached_property
from pathlib import Path
from types import ModuleType

import pytest

from ... import agent
from ...errors import ProjectError
from ...scenario import Scenario
from .budgets import levels_of
from .catalogue import ROOM, check_modules, file_of
from .check import Check, Exam, Place, Violated
from .reports import FORMATS, write
from .verdicts import Told, Verdict, failed
from .waivers import Waiver, waivers_of

KEY = "readiness"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that `python -m <package>.readiness` passes on."""
    group = parser.getgroup("readiness", "the production-readiness standard")
    group.addoption("--readiness-whole", action="store_true", help="those of installed packages, too")
    group.addoption("--readiness-only", default="", metavar="IDS", help="only these checks, such as R04,R09")
    group.addoption("--readiness-scenario", default="", metavar="NAME", help="only this scenario of the agent")
    group.addoption("--readiness-report", action="append", default=[], metavar="FORMAT:FILE", help="write a report")


def pytest_configure(config: pytest.Config) -> None:
    """Begin the verdicts; where the whole project is tested, add the checks of installed packages."""
    standard = Standard(config)
    config.pluginmanager.register(standard, "readiness-standard")
    if config.getoption("--readiness-whole") or config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        files = map(file_of, standard.modules)
        config.args += [str(file) for file in files if not file.is_relative_to(ROOM)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes a `scenario` once for each of the agent's, or for the one that the command line names."""
    if "scenario" in metafunc.fixturenames:
        found = chosen_scenarios(metafunc.config)
        metafunc.parametrize("scenario", found, ids=[scenario.name for scenario in found])


@pytest.fixture(scope="session")
def scenarios(request: pytest.FixtureRequest) -> list[Scenario]:
    """The agent's scenarios, or the one that the command line names."""
    return chosen_scenarios(request.config)


def chosen_scenarios(config: pytest.Config) -> list[Scenario]:
    """See `scenarios`."""
    found = agent.scenarios()
    wanted = str(config.getoption("--readiness-scenario"))
    chosen = [scenario for scenario in found if wanted in {"", scenario.name}]
    if not chosen:
        raise pytest.UsageError(f"no scenario is called {wanted!r}: there are {[each.name for each in found]}")
    return chosen


@pytest.fixture
def exam(request: pytest.FixtureRequest) -> Exam:
    """What the test looks at and finds."""
    return Exam(request.module.CHECK)


class Standard:
    """The checks of a session: in a worker what its tests say, in the controlling process their verdicts."""

    def __init__(self, config: pytest.Config) -> None:
        """Begin with no verdict."""
        self._config = config
        self._root = config.rootpath
        self._verdicts: dict[str, Verdict] = {}
        self._is_worker = hasattr(config, "workerinput")
        only = str(config.getoption("--readiness-only"))
        self._only = {id_.strip().upper() for id_ in only.split(",") if id_.strip()}

    @cached_property
    def modules(self) -> list[ModuleType]:
        """The modules of the checks."""
        try:
            return check_modules()
        except ProjectError as error:
            raise pytest.UsageError(str(error)) from None

    @cached_property
    def checks(self) -> dict[str, Check]:
        """The checks by their ids, each with the level that it has in this project."""
        checks: list[Check] = [module.CHECK for module in self.modules]
        try:
            levels = levels_of(self._root)
        except ProjectError as error:
            raise pytest.UsageError(str(error)) from None
        return {check.id: dataclasses.replace(check, level=levels.get(check.id, check.level)) for check in checks}

    @cached_property
    def waivers(self) -> dict[str, Waiver]:
        """The project's waivers, by the check's id."""
        try:
            return waivers_of(self._root, self.checks, dt.datetime.now(dt.UTC).date())
        except ProjectError as error:
            raise pytest.UsageError(str(error)) from None

    @property
    def verdicts(self) -> list[Verdict]:
        """The verdicts so far, in the order of their ids."""
        return [verdict for _, verdict in sorted(self._verdicts.items())]

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out the checks that are not asked for. Bad waivers and levels are told before any test runs."""
        if any(_check_of(item) for item in items):
            self.waivers  # noqa: B018 - it raises
        if not self._only:
            return
        if unknown := self._only - set(self.checks):
            raise pytest.UsageError(f"there is no check {', '.join(sorted(unknown))}: take of {', '.join(self.checks)}")
        chosen = [item for item in items if _check_of(item) in self._only]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Say why a check's file could not be read, though `make ready` leaves pytest's own summary out."""
        if report.failed and self._config.getoption("--readiness-whole") and not self._is_worker:
            self._config.get_terminal_writer().line(report.longreprtext)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Fail a test whose exam found something."""
        result = yield
        exam = _exam_of(item)
        if exam and exam.findings:
            raise Violated
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Put what the test said into its report."""
        report = yield
        id_ = _check_of(item)
        if not id_ or (report.when != "call" and report.passed):
            return report
        check, exam = self.checks[id_], _exam_of(item)
        told = [self._told(found.text, found.place) for found in exam.findings] if exam else []
        if report.failed and not told:  # the check itself broke: the reason is in its report
            told = [self._told(f"{item.name} broke: {_last_line(report)}", None)]
        facts = {
            "check": id_,
            "seconds": report.duration,
            "skipped": report.skipped,
            "looked_at": dict(exam.looked_at) if exam else {},
            "told": [dataclasses.astuple(one) for one in told],
        }
        report.user_properties.append((KEY, json.dumps(facts)))
        if report.failed:
            if exam and exam.findings:
                report.longrepr = "\n".join([*map(str, told), "", f"To mend: {check.remedy}"])
            waiver = self.waivers.get(id_)
            if waiver or check.level == "warning":
                report.outcome = "skipped"
                report.wasxfail = waiver.reason if waiver else f"{id_} is a warning"
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Gather what the tests said, wherever they ran."""
        if self._is_worker:
            return
        for name, value in report.user_properties:
            if name == KEY:
                facts = json.loads(str(value))
                id_ = facts["check"]
                verdict = self._verdicts.setdefault(id_, Verdict(self.checks[id_], waiver=self.waivers.get(id_)))
                verdict.add(facts)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail the session for a check that looked at nothing, and write the reports that are asked for."""
        if failed(self.verdicts) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        for wanted in self._config.getoption("--readiness-report") if self._verdicts else ():
            form, _, file = str(wanted).partition(":")
            if form not in FORMATS or not file:
                raise pytest.UsageError(f"--readiness-report={wanted}: write FORMAT:FILE, of {', '.join(FORMATS)}")
            Path(file).write_text(write(form, self.verdicts), "utf-8")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show the verdicts if one fails: otherwise they are a test result like others."""
        if failed(self.verdicts):
            terminalreporter.section("readiness")
            terminalreporter.write(write("table", self.verdicts))

    def _told(self, text: str, place: Place | None) -> Told:
        if place is None:
            return Told(text)
        file = place.file.resolve()
        shown = file.relative_to(self._root) if file.is_relative_to(self._root) else file
        return Told(text, str(shown), place.line)


def _check_of(item: pytest.Item) -> str:
    """Return the id of the check that a test belongs to, if any."""
    check = getattr(getattr(item, "module", None), "CHECK", None)
    return check.id if isinstance(check, Check) else ""


def _exam_of(item: pytest.Item) -> Exam | None:
    found = getattr(item, "funcargs", {}).get("exam")
    return found if isinstance(found, Exam) else None


def _last_line(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash else report.longrepr).strip().splitlines()[0]
