"""`make demo`, the README's first command."""

import subprocess
import sys
from pathlib import Path


def test_demo_tells_its_story() -> None:
    demo = str(Path(__file__).with_name("demo.py"))
    done = subprocess.run([sys.executable, demo], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "killed with signal 9" in done.stdout
