"""The standard's page, every check in its own words. `python -m <package>.readiness.engine.page` prints it."""

from collections.abc import Iterable
from pathlib import Path

from .catalogue import check_modules
from .check import Check
from .reports import anchor

HEAD = Path(__file__).with_name("page.md")


def page(checks: Iterable[Check]) -> str:
    """Return the page in Markdown."""
    checks = list(checks)
    rows = [f"| {check.id} | [{check.title}](#{anchor(check.id, check.title)}) | {check.level} |" for check in checks]
    table = "\n".join(["# The checks", "", "| id | check | level |", "|---|---|---|", *rows])
    return "\n\n".join([HEAD.read_text("utf-8").strip(), table, *map(_section, checks)]) + "\n"


def _section(check: Check) -> str:
    level = "" if check.level == "error" else f" It is a {check.level}."
    return "\n\n".join(
        [
            f"## {check.id} {check.title}",
            f"**Holds when** {check.holds}{level}",
            f"**Why** {check.why}",
            f"**Measured** {check.fact}",
            f"**To mend** {check.remedy}",
            *([f"**Not covered** {check.not_covered}"] if check.not_covered else []),
        ]
    )


if __name__ == "__main__":
    print(page(module.CHECK for module in check_modules()), end="")  # noqa: T201 - a command's output
