"""`python -m <package>.readiness`: the standard alone. `make ready` calls it. Exit codes are pytest's."""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOM = Path(__file__).parent
FORMATS = ("table", "json", "sarif", "junit", "markdown", "github")


def main() -> int:
    """Run the checks, with pytest's words on stderr and the report on stdout."""
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}", description="Check the production standard.")
    parser.add_argument("--only", default="", metavar="IDS", help="only these checks, such as R04,R09")
    parser.add_argument("--scenario", default="", metavar="NAME", help="only this scenario of the agent")
    parser.add_argument("--format", default="table", choices=FORMATS, help="the report on stdout")
    parser.add_argument(
        "--report", action="append", default=[], metavar="FORMAT:FILE", help="one more, into a file; may be repeated"
    )
    parser.add_argument("pytest", nargs="*", metavar="ARGUMENT", help="for pytest, after `--`, such as -- -x -n 0")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report")
        wanted = [f"--readiness-report={each}" for each in [f"{given.format}:{report}", *given.report]]
        chosen = ["--readiness-whole", f"--readiness-only={given.only}", f"--readiness-scenario={given.scenario}"]
        words = ["-q", "--no-header", "--no-summary", "--tb=short"]
        # A process of its own: pytest is to import everything itself. What it prints is no part of the report.
        command = [sys.executable, "-m", "pytest", str(ROOM), *wanted, *chosen, *words, *given.pytest]
        code = subprocess.run(command, stdout=sys.stderr, check=False).returncode
        if report.exists():
            print(report.read_text("utf-8"), end="")  # noqa: T201 - a command's output
    return code


if __name__ == "__main__":
    raise SystemExit(main())
