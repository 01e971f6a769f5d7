"""A run that is cut off, whatever the signal, can be gone on with, and says how."""

from __future__ import annotations  # Shell has a name for mypy only

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from acme_agent.agent.offline_scenarios import EXAMPLES

if TYPE_CHECKING:
    from plumbing.conftest import Shell  # tests are not a package: nothing can be imported from there

QUESTION = "How many books may a member borrow?"


@pytest.fixture
def spawn(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start the command line in a process of its own, with a model that is too slow to finish."""
    program = (
        "import signal\n"
        "from acme_agent.agent import write\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background has it ignored\n"
        "class Slow:\n"
        "    async def astream(self, prompt):\n"
        "        print('writing', flush=True)\n"
        "        import asyncio\n"
        "        await asyncio.sleep(60)\n"
        "        yield\n"
        "write.load_model = lambda name: Slow()\n"
        "from acme_agent.cli import main\n"
        "main()\n"
    )

    def start(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            cwd=tmp_path,
            env=os.environ | {"DOCS": str(EXAMPLES), "PYTHONWARNINGS": "error"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        assert process.stdout.readline() == "writing\n"
        return process

    return start


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_run_that_is_cut_off_can_be_resumed(
    shell: Shell,
    spawn: Callable[..., subprocess.Popen[str]],
    end: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process = spawn("run", QUESTION, "--thread-id", "t")
    process.send_signal(end)
    _, err = process.communicate(timeout=30)
    if end is signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 130
        assert "acme-agent resume t" in err
        assert "Traceback" not in err
    assert shell("show", "t") == 0
    assert "acme-agent resume t" in shell.out
    monkeypatch.setenv("RUN_MODE", "reject")
    assert shell("run", QUESTION, "--thread-id", "t") == 2
    assert "acme-agent resume t" in shell.err
    monkeypatch.delenv("RUN_MODE")
    assert shell("answer", "t", "yes") == 2
    assert shell("resume", "t") == 0
    assert shell.out.startswith("A member may borrow")


def test_a_new_run_first_goes_on_with_the_one_that_was_cut_off(
    shell: Shell, spawn: Callable[..., subprocess.Popen[str]]
) -> None:
    process = spawn("run", QUESTION, "--thread-id", "t")
    process.kill()
    process.communicate(timeout=30)
    assert shell("run", "What does printing cost?", "--thread-id", "t") == 0
    assert shell.out.startswith("Printing costs ten cents")
    assert shell("history", "t", "--json", "--limit", "100") == 0
    assert sum(line["step"] >= 0 and line["next"] == ["plan"] for line in shell.objects()) == 2
