"""The standard's page is the checks' own words."""

import subprocess
import sys
from pathlib import Path

from template import ROOT


def test_the_page_is_what_the_checks_say(tmp_path: Path) -> None:
    """`make docs` writes it."""
    (tmp_path / "acme_agent").symlink_to(ROOT / "template" / "src" / "{{ package_name }}")
    printed = subprocess.run(
        [sys.executable, "-m", "acme_agent.readiness.engine.page"],
        cwd=ROOT,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert printed.returncode == 0, printed.stderr
    assert (ROOT / "template" / "docs" / "standard.md").read_text() == printed.stdout
