"""A bad answer is refused with its remedy, and a good one arrives whole wherever it is shown."""

import importlib.metadata
import keyword
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from template import QUESTIONS, ROOT, choices, files, render

Render = Callable[..., Path]

NAME_FORM = "lowercase words of a-z and 0-9 joined by single dashes"
NAME_TAKEN = "add a word, such as"
ONE_LINE = "Write one line of text"

DESCRIPTIONS = {
    "quotes": """It's a "quoted" 'thing', with \"\"\"three\"\"\" and '''three'''""",
    "backslashes": r"C:\new\table \" and one at the end \\",
    "jinja": "{{ 7 * 7 }} {% raw %} {# note #} ${{ github.token }} $(Q) ${HOME} %(name)s",
    "scripts": "Ответы, 回答, إجابات, naïve — 🤖👩‍💻",
    "yaml": "- key: [value] # not a comment",
    "number": "1.0",
    "boolean": "yes",
    "markup": "# <b>bold</b> & `code` | cell | *star* _under_",
}


@pytest.mark.parametrize("name", ["x", "triage", "support-agent", "agent-2", "x" * 40])
def test_a_good_name_becomes_package_and_command(template: Path, tmp_path: Path, name: str) -> None:
    project = render(template, tmp_path / "p", project_name=name)
    package = name.replace("-", "_")
    assert (project / "src" / package / "__init__.py").exists()
    pyproject = tomllib.loads((project / "pyproject.toml").read_text())
    assert pyproject["project"]["name"] == name
    assert pyproject["project"]["scripts"] == {name: f"{package}.cli:main"}


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("", NAME_FORM),
        ("Support-Agent", NAME_FORM),
        ("support_agent", NAME_FORM),
        ("support agent", NAME_FORM),
        ("support-", NAME_FORM),
        ("-support", NAME_FORM),
        ("support--agent", NAME_FORM),
        ("2-agents", NAME_FORM),
        ("support-agent\n", NAME_FORM),
        ("../agent", NAME_FORM),
        ("агент", NAME_FORM),
        ("x" * 41, NAME_FORM),
        ("class", NAME_TAKEN),
        ("match", NAME_TAKEN),
        ("calendar", NAME_TAKEN),
        ("py-compile", NAME_TAKEN),
        ("langgraph", NAME_TAKEN),
        ("pydantic-settings", NAME_TAKEN),
        ("agent", NAME_TAKEN),
        ("tests", NAME_TAKEN),
    ],
)
def test_a_bad_name_is_refused_with_the_remedy(template: Path, tmp_path: Path, name: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        render(template, tmp_path / "p", project_name=name)
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("support-agent", "support-agent"),
        ("Support Agent", "support-agent"),
        ("support_agent.v2", "support-agent-v2"),
        ("2026-11 triage", "triage"),
        ("test", "my-test"),
        ("agent", "my-agent"),
        ("langgraph", "my-langgraph"),
        ("агент", "my-agent"),
        ("_", "my-agent"),
        ("1234", "my-agent"),
        ("very-" * 12 + "long", "very-very-very-very-very-very-very"),
    ],
)
def test_the_folder_gives_the_name(template: Path, tmp_path: Path, folder: str, name: str) -> None:
    project = render(template, tmp_path / folder)
    assert tomllib.loads((project / "pyproject.toml").read_text())["project"]["name"] == name


def test_a_copy_into_the_current_folder_takes_its_name(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "triage").mkdir()
    monkeypatch.chdir(tmp_path / "triage")
    render(template, Path())
    assert Path("src/triage/__init__.py").exists()


def test_names_of_python_and_of_the_dependencies_are_taken(render: Render) -> None:
    free = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")  # what a valid project name can turn into
    needed = {*sys.stdlib_module_names, *keyword.kwlist, *keyword.softkwlist}
    modules = importlib.metadata.packages_distributions()
    answers = [{"model_provider": provider} for provider in choices("model_provider")]
    answers += [{"backend": backend, "worker": "procrastinate"} for backend in choices("backend")]
    for given in answers:
        pyproject = tomllib.loads((render(**given) / "pyproject.toml").read_text())
        listed = [*pyproject["project"]["dependencies"], *pyproject["dependency-groups"]["dev"]]
        for name in (Requirement(line).name for line in listed):
            needed |= {name.replace("-", "_"), *(module for module, of in modules.items() if name in of)}
    taken = set(QUESTIONS["taken_names"]["default"].split())
    assert {name for name in needed if free.fullmatch(name)} <= taken


@pytest.mark.parametrize(
    "text", ["", "   ", "two\nlines", "ends in a newline\n", "tab\t", "nul\0", "line\u2028separator"]
)
def test_a_bad_description_is_refused_with_the_remedy(template: Path, tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=ONE_LINE):
        render(template, tmp_path / "p", description=text)


@pytest.mark.parametrize("text", DESCRIPTIONS.values(), ids=DESCRIPTIONS)
def test_a_description_survives_in_every_file_that_shows_it(render: Render, text: str) -> None:
    marker = "marker-of-the-description"
    marked = files(render(description=marker))
    shown_in = {path for path, content in marked.items() if marker.encode() in content}
    assert {".copier-answers.yml", "pyproject.toml", "README.md", "AGENTS.md"} <= shown_in

    project = render(description=text)
    for path in shown_in:
        content = (project / path).read_text()
        match Path(path).suffix:
            case ".toml":
                assert tomllib.loads(content)["project"]["description"] == text
            case ".yml":
                assert yaml.safe_load(content)["description"] == text
            case ".md":
                lines = marked[path].decode().splitlines()
                expected = [line.replace(marker, text) for line in lines if marker in line]
                assert set(expected) <= set(content.splitlines())
            case other:
                pytest.fail(f"{path} shows the description: say here how {other} files are read back")


def test_an_answer_to_no_question_is_a_mistake_in_the_test(render: Render) -> None:
    with pytest.raises(TypeError, match="no such question: databse"):
        render(databse="sqlite")


def test_few_questions_each_explained() -> None:
    asked = {name for name, question in QUESTIONS.items() if question.get("when", True) and question.get("ask", True)}
    assert len(asked) <= 8, asked
    for name in asked:
        assert QUESTIONS[name].get("help", "").endswith((".", "?")), f"{name} has no help that is a sentence"
        assert "default" in QUESTIONS[name], f"{name} stops `copier copy --defaults`"


def test_no_question_asks_for_a_secret() -> None:
    assert not [name for name, question in QUESTIONS.items() if question.get("secret")]
    assert not [name for name in QUESTIONS if re.search(r"password|secret|token|api_key", name)]
    assert not re.search(r"secret: *true", (ROOT / "copier.yml").read_text())
