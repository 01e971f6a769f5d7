"""R16 deployment: the settings and the deployment files fit each other and the database."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..agent import AgentSettings
from ..persistence.urls import normalise
from ..production import BESIDE_POOL, default_secrets, servers
from .engine.check import Check, Exam, Place
from .fixtures import POOLERS
from .source.deployment_files import Container, containers, words, yaml_files
from .source.health_code import health_functions, never_fails, reads_nothing, set_up
from .source.nodes import files
from .source.production_settings import BACKEND, FILE, FINE, PASSWORD, POOLER, SERVER, refused

CHECK = Check(
    id="R16",
    title="deployment",
    holds="every spelling of the database's URL is taken, and no deployment file has one that names a driver;"
    " production refuses a pooler without DATABASE_DIRECT_URL, a pool of one connection, more connections than the"
    " server takes, and default secrets; the deployment files' settings pass it with all replicas; every probe can"
    " fail; migrations are a step of the deployment, and nothing else makes tables.",
    why="a deployment that does not fit its database fails at night, under load or with the next release, when its"
    " tests have long been green.",
    remedy="set in the deployment what the finding names: DATABASE_POOL_MAX, REPLICAS and the autoscaler's maximum,"
    " DATABASE_MAX_CONNECTIONS, DATABASE_DIRECT_URL, and secrets without a default; run `migrate` as in"
    " `deploy/migrate-job.yaml`, and call neither it nor a `setup()` anywhere else; let a readiness probe await a"
    " statement, as `doctor` does, and let its error through or answer 503.",
    fact="four processes that each called `setup()` at their start, on an empty database: in 10 of 10 starts at least"
    " one failed, and 30 of 40 processes died. Of the templates that were read, one has a pool of one connection"
    " by default, three call `setup()` for each request, and one suppresses every exception of the checkpointer"
    " in its health route, so that it is always reported as connected.",
    not_covered="Helm's templates and what a Secret or the organisation's own pipeline holds; connections of other"
    " programs; whether what a probe awaits is a statement; that a pooler without a telling name or port needs a"
    " direct URL, which is found when it is opened.",
)

_OURS = FILE if BACKEND.EMBEDDED else SERVER
_SCHEME = _OURS.partition(":")[0]
SPELLINGS = [_OURS.replace(_SCHEME, name, 1) for name, normal in BACKEND.SCHEMES.items() if normal == _SCHEME]

UNFIT: dict[str, dict[str, Any]] = {  # Any: values of settings
    "a pool of one connection": {"database_pool_max": 1},
    **({"20 replicas with 10 connections each, of 100": {"replicas": 20}} if servers(SERVER) else {}),
    **({"a pooler without DATABASE_DIRECT_URL": {"database_url": POOLER}} if BACKEND.INSPECTION else {}),
    **{
        f"the password {word}": {"database_url": SERVER.replace(PASSWORD, word)}
        for word in ("changeme", "role")  # a default that everybody knows, and the user's name
        if PASSWORD in SERVER
    },
    "a CHECKPOINT_KEY of zeros": {"checkpoint_key": "A" * 43 + "="},
}
"""What production must refuse."""

_DRIVER_URL = re.compile(r"[\w.]+\s*[=:]\s*[\"']?(?:\$\{\w+:?-)?(\w+\+(?:a?sync|aio|psy|py)\w*)://")
_NOTHING = re.compile(r"(/usr)?(/bin/)?(true|:|exit 0|echo\b.*|sleep\b.*|pwd|date)|")
_NEVER = re.compile(r"(\|\||;)\s*((/usr)?(/bin/)?true|:|exit 0|echo\b[^;|&]*)\s*$")


def test_settings(exam: Exam) -> None:
    """Every spelling of a URL is taken, and production refuses what cannot serve."""
    place = Place.of(AgentSettings)
    plain = refused(database_url=_OURS)  # the team's own settings may not want it at all
    for url in SPELLINGS:
        exam.look("settings")
        scheme, problem = url.partition("://")[0], refused(database_url=url)
        if (problem and not plain) or normalise(url) != _OURS:
            exam.find(f"a DATABASE_URL that begins with {scheme}:// is refused: {problem}", place)
    for what, values in UNFIT.items():
        exam.look("settings")
        exam.require(refused(**values), f"ENVIRONMENT=production takes {what}", place)
    for name in default_secrets(AgentSettings):
        exam.find(f"{name.upper()} has a default, which everybody knows who reads the source", place)


def test_deployment_files(project: Path, exam: Exam) -> None:
    """What the files start can be started: production takes its settings, and the database its connections."""
    used: dict[tuple[str, str, str], int] = {}
    most = 0
    for one in containers(project):
        exam.look("containers")
        if one.settings.get("environment") in {"development", "test"}:
            continue
        values = _values(one)
        if problem := refused(**values):
            exam.find(f"{one.title}: {problem}", one.place())
        given = int(one.settings.get("replicas") or one.replicas)
        exam.require(
            given >= one.replicas, f"{one.title}: up to {one.replicas} replicas, and REPLICAS={given}", one.place()
        )
        if one.stays and values["database_url"] != FILE:
            beside = 0 if values["database_direct_url"] else BESIDE_POOL
            number = one.replicas * (int(values["database_pool_max"]) + beside)
            used[one.kind, one.owner, one.name] = max(number, used.get((one.kind, one.owner, one.name), 0))
            most = max(most, int(values["database_max_connections"]))
    if len(used) > 1 and sum(used.values()) > most:
        each = " + ".join(f"{number} of {owner}" for (_, owner, _), number in used.items())
        exam.find(f"all together take {sum(used.values())} connections, {each}, of DATABASE_MAX_CONNECTIONS={most}")


def test_urls_in_files(project: Path, exam: Exam) -> None:
    """No URL names a driver: this program takes it, and others, such as an autoscaler, do not."""
    for file in [*yaml_files(project), *project.glob("*.env"), *project.glob(".env.*"), *project.glob("Dockerfile*")]:
        exam.look("files")
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
            if found := _DRIVER_URL.search(line):
                text = f"a URL begins with {found[1]}://, which other programs refuse: write {found[1].partition('+')[0]}://"
                exam.find(text, Place(file, number))


def test_probes(project: Path, exam: Exam) -> None:
    """Every probe can fail."""
    probed = set()
    for one in containers(project):
        probes = {key: one.node[key] for key in one.node if key.endswith("Probe") or key == "healthcheck"}
        exam.require(probes or not one.stays or one.kind == "compose", f"{one.title} has no probe", one.place())
        for key, probe in probes.items():
            exam.look("probes")
            command = words((probe.get("exec") or {}).get("command") or probe.get("test"))
            if command and _cannot_fail(command):
                exam.find(f"{one.title}: {key} cannot fail: {' '.join(command)}", one.place(key))
            if key == "readinessProbe":
                path = (probe.get("httpGet") or {}).get("path", "")
                probed |= {path.partition("?")[0]} - {""}
                if "tcpSocket" in probe:
                    exam.find(f"{one.title}: {key} opens a socket, and reads no database", one.place(key))
    for file in files():
        exam.look("files")
        for function, paths in health_functions(file):
            exam.look("probes")
            for what, place in never_fails(file, function):
                exam.find(what, place)
            if reads_nothing(function, paths, probed):
                exam.find(
                    f"{function.name} says that it is ready without a look at anything", Place(file, function.lineno)
                )


def test_migrations_are_a_step(project: Path, exam: Exam) -> None:
    """A deployment migrates before it starts, and nothing else makes tables."""
    for file in files(but=("readiness", "persistence")):
        exam.look("files")
        for what, place in set_up(file):
            exam.find(what, place)
    if not BACKEND.MIGRATES:  # what it needs is made when it is opened
        return
    found = containers(project)
    manifests = [one for one in found if one.kind != "compose"]
    if any(one.stays for one in manifests):
        steps = [word for one in manifests for word in one.command] + list(
            _texts(project, ".github/**/*", ".gitlab-ci.yml")
        )
        asked = next(one for one in manifests if one.stays)
        text = f"{asked.title} is deployed, and no job, init container or pipeline runs `migrate` before it"
        exam.require(any(re.search(r"\bmigrate\b", step) for step in steps), text, asked.place())
    else:
        steps = [*_texts(project, "*compose*", "Dockerfile*", "Procfile", "Makefile", "README.md", "deploy/**/*")]
        exam.require(any(re.search(r"\bmigrate\b", step) for step in steps), "nothing says when `migrate` is to be run")


def _values(one: Container) -> dict[str, Any]:  # Any: values of settings
    """Return the settings that a container has, with fine ones for what its file does not say."""
    ours = (FILE, "") if BACKEND.EMBEDDED else (POOLER, SERVER) if POOLERS else (SERVER, "")
    values = {**FINE, "database_url": ours[0], "database_direct_url": ours[1], "replicas": one.replicas}
    if "database_url" in one.settings and "database_direct_url" not in one.settings and not one.knows_more:
        values["database_direct_url"] = ""
    values |= {name: value for name, value in one.settings.items() if name in FINE and value is not None}
    return values | {"environment": "production", "replicas": max(one.replicas, int(values["replicas"]))}


def _cannot_fail(command: list[str]) -> bool:
    """Tell whether a command is well whatever happens."""
    plain = [word for word in command if word not in {"CMD", "CMD-SHELL", "NONE"}]
    if plain[:1] and Path(plain[0]).name in {"sh", "bash"} and plain[1:2] and plain[1].startswith("-"):
        plain = plain[2:]
    script = " ".join(plain).strip()
    parts = [part.strip() for part in re.split(r"&&|\|\||;", script)]
    return bool(script) and (bool(_NEVER.search(script)) or all(_NOTHING.fullmatch(part) for part in parts))


def _texts(project: Path, *patterns: str) -> Iterator[str]:
    for pattern in patterns:
        for file in project.glob(pattern):
            if file.is_file():
                yield file.read_text("utf-8", errors="replace")
