"""`make demo`: a project is generated, answers a question, is killed half-way, and goes on."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from project import NAME, Project, generate

from template import ROOT, snapshot

QUESTION = "What happens to a run when its process is killed?"
ATTEMPTS = 10  # the example needs a tenth of a second: the kill may come too late


def main() -> None:
    """Tell the story; exit with an error when it does not end well."""
    began = time.monotonic()
    workplace = ROOT / ".build" / "demo"
    shutil.rmtree(workplace, ignore_errors=True)
    workplace.mkdir(parents=True)
    os.environ |= {
        f"GIT_{who}_{what}": "demo@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }

    say(f"copier copy . {NAME}   (the template as the working tree holds it)")
    project = generate(snapshot(workplace / "template"), workplace, sys.executable)

    say("make run   (installs the project first)")
    print(project.run("make", "run", f"Q={QUESTION}").stdout)

    say(f'{NAME} run "{QUESTION}"   (and kill -9 as soon as it writes the answer)')
    thread = killed(project)

    say(f"{NAME} show {thread}")
    print(project.run(*program(project), "show", thread).stdout)

    say(f"{NAME} resume {thread}")
    answer = project.run(*program(project), "resume", thread).stdout
    print(answer)
    if not re.search(r"\[[^\]]+#\d+\]", answer) or "search" in answer.split():
        sys.exit("the resumed run did not go on from where it was killed to a cited answer")
    say(f"done in {time.monotonic() - began:.0f} s; the project is in {project.folder.relative_to(ROOT)}")


def killed(project: Project) -> str:
    """Start the question and kill the process as soon as it writes the answer; return the thread's id."""
    for attempt in range(1, ATTEMPTS + 1):
        thread = f"killed-{attempt}"
        process = project.popen(*program(project), "run", QUESTION, "--json", "--thread-id", thread)
        assert process.stdout
        for line in process.stdout:
            if json.loads(line).get("node") == "synthesize":
                process.kill()
                break
        process.communicate()
        status = json.loads(project.run(*program(project), "show", thread, "--json").stdout)
        if status["condition"] == "unfinished":
            print(f"killed with signal {-process.returncode} in superstep {status['step'] + 1}\n")
            return thread
    sys.exit(f"the run was faster than the kill, {ATTEMPTS} times")


def program(project: Project) -> list[str]:
    """The project's command line, as its environment holds it."""
    return [str(project.folder / ".venv" / "bin" / NAME)]


def say(line: str) -> None:
    """Print a line of the story."""
    print(f"\033[1m$ {line}\033[0m" if sys.stdout.isatty() else f"$ {line}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error}\n{error.stdout}\n{error.stderr}")
