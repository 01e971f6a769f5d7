"""What `doctor` looks at."""

import platform
from dataclasses import dataclass
from importlib.metadata import version

from .agent import AgentSettings, check
from .errors import PROGRAM, ProjectError
from .persistence import open_checkpointer, try_storing
from .persistence.urls import describe
from .runs import Policy
from .settings import redact

PACKAGES = ("langgraph", "langgraph-checkpoint", "langchain-core")


@dataclass(frozen=True)
class Finding:
    """What was looked at, whether it is well, and what was found or how to mend it."""

    subject: str
    ok: bool
    text: str


async def diagnose(settings: AgentSettings) -> list[Finding]:
    """Return the findings, all of them: one that is wrong does not hide the others."""
    found = [
        Finding("python", True, platform.python_version()),
        *(Finding(name, True, version(name)) for name in PACKAGES),
        Finding("environment", True, settings.environment),
    ]
    if not settings.checkpoint_url.startswith("sqlite"):
        found.append(Finding("retention", True, str(Policy.of(settings))))
    try:
        check(settings)
        found.append(Finding("agent", True, "its model and documents can be used"))
    except ProjectError as error:
        found.append(Finding("agent", False, redact(str(error))))
    try:
        async with open_checkpointer(settings.checkpoint_url, settings=settings) as checkpointer:
            found.append(
                Finding("database", True, f"{describe(settings.checkpoint_url)} answers, its tables are up to date")
            )
            found.append(Finding("storing", True, await try_storing(checkpointer)))
    except ProjectError as error:
        found.append(Finding("database", False, f"{redact(str(error))} ({PROGRAM} reads DATABASE_URL)"))
    return found
