"""R15 secrets: what is secret is used and not kept: in no checkpoint, log line, trace or error."""

import asyncio
import traceback
from pathlib import Path

import pytest

from ..agent import AgentSettings
from ..persistence import open_checkpointer
from ..scenario import Scenario
from .engine.check import Check, Exam, Place
from .playing.canaries import SHORTEST, Tracer, environment_canaries, holds, logged, plain_secrets, settings_canaries
from .playing.play import Played, play
from .source import nodes as source
from .source.production_settings import SERVER

CHECK = Check(
    id="R15",
    title="secrets",
    holds="canaries in every secret field of the settings and in the environment's secret variables are, while each"
    " scenario plays, in no checkpoint, no log line of LOG_LEVEL=DEBUG, no trace and no error, and no superstep stores"
    " the inputs that a scenario names in `secrets`.",
    why="checkpoints, logs and traces are kept for long and read by many: a secret in one of them has to be replaced.",
    remedy="declare secrets as `SecretStr` in `agent/settings.py`; call `get_secret_value()` where the client is made;"
    " keep a secret's name, never its value, in the state, in messages and in metadata; give the key of a secret input"
    " `Annotated[str, UntrackedValue]`; put `redact(...)` around the text of errors from outside.",
    fact="LangGraph stores a `SecretStr` in clear text; one driver repeats the URL, with the password, in its error"
    " about a suffix; aiosqlite logs every statement with its values at DEBUG; and LangGraph stores an input as"
    " a whole in the thread's first checkpoint, the keys with `UntrackedValue` too.",
    not_covered="an input as it was accepted: the ledger has it until it is delivered, and so has the first checkpoint"
    " (CHECKPOINT_KEY seals it); secret inputs in a tracer's inputs and outputs (hide them there); secrets that are"
    " stored encoded; paths that no scenario takes; and what a real model's client logs.",
)


def test_settings_hide_secrets(exam: Exam) -> None:
    """A secret is no plain text, which every message and traceback with the settings would show."""
    exam.look("settings", len(AgentSettings.model_fields))
    for name in plain_secrets():
        place = Place.of(AgentSettings)
        exam.find(f"AgentSettings.{name} is named like a secret and is a plain str: make it a SecretStr", place)


def test_scenario_shows_no_secret(
    scenario: Scenario, tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch, exam: Exam
) -> None:
    """A canary is nowhere."""
    canaries = settings_canaries(scenario, tmp_path)
    for name, reason in canaries.refused.items():
        exam.find(f"the setting {name} refuses a canary ({reason}): give scenario {scenario.name} a value for it")
    variables = environment_canaries(project)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    secrets = canaries.found | {f"the variable {name}": value for name, value in variables.items()}
    inputs = _inputs(scenario, exam)
    exam.look("secrets", len(secrets) + len(inputs))

    tracer = Tracer()
    with logged() as log:
        played = asyncio.run(play(scenario, tmp_path, callbacks=[tracer], **canaries.settings))
    stored = b"".join(file.read_bytes() for file in sorted(tmp_path.glob("threads.db*")))
    exam.look("checkpoints", len(played.checkpoints))
    lines = log.getvalue().splitlines()
    exam.look("log lines", len(lines))

    for what, secret in (secrets | inputs).items():
        where = f"scenario {scenario.name}: {what} is"
        kept = _search_state(played, secret, where, exam)
        for line in lines:
            if secret in line:
                exam.find(f"{where} in the log: {line.replace(secret, '...').strip()[:160]}")
        if holds("".join(traceback.format_exception(played.error)) if played.error else "", secret):
            exam.find(f"{where} in the error: {type(played.error).__name__}")
        for name, part, shown in tracer.parts():
            if (what in secrets or part not in {"inputs", "outputs"}) and not kept and holds(shown, secret):
                exam.find(f"{where} in the trace: {part} of {name}")
        if what in secrets and not kept and secret.encode() in stored:
            exam.find(f"{where} in the database file, outside the checkpoints")


@pytest.mark.parametrize(
    "form", [f"{SERVER.partition(':')[0]}://{{}}127.0.0.1:1/0", "scheme+driver:/{}host", "mysql://{}host/x"]
)
def test_errors_show_no_password(form: str, exam: Exam) -> None:
    """What is said of a database that cannot be opened repeats no password."""
    secret = "canary-password-5d1e8c"
    url = form.format(f"agent:{secret}@")

    async def opened() -> None:
        async with open_checkpointer(url):
            pass

    with logged() as log, pytest.raises(Exception) as raised:  # noqa: PT011 - whichever, its text is looked at
        asyncio.run(opened())
    exam.look("errors")
    shown = "".join(traceback.format_exception(raised.value)) + log.getvalue()
    name = type(raised.value).__name__
    exam.require(secret not in shown, f"{name} repeats the password of {url.replace(secret, '...')}")


def _inputs(scenario: Scenario, exam: Exam) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in scenario.secrets:
        value = scenario.input.get(name)
        if isinstance(value, str) and len(value) >= SHORTEST:
            found[f"the input {name}"] = value
        else:
            text = f"scenario {scenario.name}: its secret input {name} is to be a text of {SHORTEST} characters or more"
            exam.find(text)
    return found


def _search_state(played: Played, secret: str, where: str, exam: Exam) -> bool:
    """Find the secret in what supersteps have stored, the input as it came aside; tell whether it is there."""
    writers = {write.channel: write.node for write in played.writes if write.node and holds(write.value, secret)}
    channels = {
        name
        for stored in played.checkpoints
        for name, value in stored.values.items()
        if name != "__start__" and holds(value, secret)
    }
    places = {node.name: node.place for node in source.nodes()}
    for channel in sorted(channels | set(writers)):
        node = writers.get(channel, "")
        exam.find(f"{where} in the checkpoint: channel {channel}{f', by {node}' if node else ''}", places.get(node))
    return bool(channels or writers)
