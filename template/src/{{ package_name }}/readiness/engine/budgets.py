"""Budgets: the numbers of the standard. The organisation's are in `readiness.toml`; a project only tightens them.

[tool.readiness.budgets]
checkpoint_kb = 20
"""

import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...errors import ProjectError
from .check import Level
from .waivers import settings_of

FILE = "readiness.toml"  # in the project's folder


class BadBudget(ProjectError):
    """A budget that does not exist, or is looser than the organisation's."""


class Budgets(BaseModel):
    """The most that is allowed of each."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    checkpoint_kb: int = Field(gt=0)  # of one checkpoint, in kB of 1,000 bytes
    channel_kb: int = Field(gt=0)  # of one string or bytes in a channel: more is a document
    summary_tokens: int = Field(gt=0)  # of messages that a model is given
    stall_ms: int = Field(gt=0)  # that the event loop stands still
    supersteps_share: float = Field(gt=0, le=1)  # of the recursion limit that a scenario may use


def budgets_of(project: Path) -> Budgets:
    """Return the budgets of a project. Raises BadBudget."""
    ours = Budgets(**_organisation(project)["budgets"])
    own = settings_of(project).get("budgets", {})
    try:
        tightened = Budgets(**{**ours.model_dump(), **own})
    except ValidationError as error:
        what = "; ".join(f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors())
        raise BadBudget(f"pyproject.toml: [tool.readiness.budgets]: {what}") from None
    for name, limit in ours.model_dump().items():
        if getattr(tightened, name) > limit:
            raise BadBudget(
                f"pyproject.toml: [tool.readiness.budgets] {name} = {getattr(tightened, name)}: the standard allows"
                f" {limit} at most, and a project may only tighten it"
            )
    return tightened


def levels_of(project: Path) -> dict[str, Level]:
    """Return the checks that are to be errors though they are warnings by themselves. Raises BadBudget."""
    ours: list[str] = _organisation(project)["errors"]
    own = settings_of(project).get("errors", [])
    if not isinstance(own, list) or not all(isinstance(id_, str) for id_ in own):
        raise BadBudget('pyproject.toml: [tool.readiness] errors = ["ID"] lists checks that are to be errors')
    return dict.fromkeys([*ours, *own], "error")


def _organisation(project: Path) -> dict[str, Any]:  # Any: what TOML can hold
    file = project / FILE
    if not file.exists():
        raise BadBudget(f"{FILE} is missing: take it back with `git restore {FILE}`")
    return tomllib.loads(file.read_text("utf-8"))
