"""Which checks there are: those of this room, and an organisation's own, which a package adds by an entry point."""

from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from ...errors import ProjectError
from .check import Check

ROOM = Path(__file__).parents[1]
PATTERN = "r[0-9][0-9]_*.py"
GROUP = "langgraph_agent.readiness"
"""Entry points of this group name modules with a `CHECK` and tests: an organisation's own checks."""


class BadCheck(ProjectError):
    """A module that was to be a check and is none."""


def check_modules() -> list[ModuleType]:
    """Return the modules of all checks, in the order of their ids. Raises BadCheck."""
    ours = [import_module(f"..{file.stem}", __package__) for file in sorted(ROOM.glob(PATTERN))]
    theirs = [point.load() for point in entry_points(group=GROUP)]
    found: dict[str, ModuleType] = {}
    for module in [*ours, *theirs]:
        check = getattr(module, "CHECK", None)
        if not isinstance(check, Check):
            raise BadCheck(f"{module.__name__} has no CHECK: write CHECK = Check(id=..., title=..., ...)")
        if check.id in found:
            raise BadCheck(f"{module.__name__} and {found[check.id].__name__} are both {check.id}: rename one")
        found[check.id] = module
    return [module for _, module in sorted(found.items())]


def file_of(module: ModuleType) -> Path:
    """Return the file of a check."""
    return Path(str(module.__file__))
