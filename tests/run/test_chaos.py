"""The chaos test in short: `make chaos` is the long one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHORT = ("--seconds", "20", "--threads", "50", "--lease", "8", "--pause", "2.5")


def _chaos(*arguments: str) -> subprocess.CompletedProcess[str]:
    build = ROOT / ".build"
    build.mkdir(exist_ok=True)
    package = build / "acme_agent"
    if not package.exists():
        package.symlink_to("../template/src/{{ package_name }}")
    environment = {**os.environ, "PYTHONPATH": f"{build}:{ROOT / 'tests'}"}
    command = [sys.executable, "-m", "chaos", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("backend", ["postgres", "valkey", "dynamodb", "sqlite"])
def test_no_run_is_lost_doubled_or_mixed_up_whatever_happens(backend: str) -> None:
    few = ("--threads", "16") if backend == "dynamodb" else ()  # moto is slow
    done = _chaos(*SHORT, "--backend", backend, *few)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_planted_bug_is_found() -> None:
    """Else the test above would prove nothing."""
    done = _chaos(*SHORT, "--deaths", "0.02", "--afterwards", "15", "--plant", "deliver-once")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "WRONG: " in done.stdout
