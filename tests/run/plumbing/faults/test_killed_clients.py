"""What a process leaves behind when it ends in the middle of its runs: all that was finished, and nothing else."""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from acme_agent.persistence import open_checkpointer
from acme_agent.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from plumbing.faults.conftest import Chain

pytestmark = pytest.mark.anyio

PATIENCE = 180.0  # seconds, on a machine that does much else
THREADS = 200

# One statement stores a checkpoint with its blobs, and a superstep begins when the one before is stored. So every write
# has its checkpoint, every blob a checkpoint that names its version, every checkpoint its blobs and its parent.
ORPHANS = {
    "writes without their checkpoint": """
        SELECT thread_id, checkpoint_id FROM checkpoint_writes
        EXCEPT SELECT thread_id, checkpoint_id FROM checkpoints
    """,
    "blobs that no checkpoint refers to": """
        SELECT thread_id, channel, version FROM checkpoint_blobs
        EXCEPT
        SELECT thread_id, channel.key, channel.value
        FROM checkpoints, jsonb_each_text(checkpoint -> 'channel_versions') AS channel
    """,
    "checkpoints without the blob of their state": """
        SELECT thread_id, checkpoint -> 'channel_versions' ->> 'steps'
        FROM checkpoints
        WHERE checkpoint -> 'channel_versions' ? 'steps'
        EXCEPT SELECT thread_id, version FROM checkpoint_blobs WHERE channel = 'steps'
    """,
    "checkpoints without their parent": """
        SELECT thread_id, parent_checkpoint_id FROM checkpoints WHERE parent_checkpoint_id IS NOT NULL
        EXCEPT SELECT thread_id, checkpoint_id FROM checkpoints
    """,
}


def test_processes_that_are_killed_lose_and_repeat_nothing(own_database: str, tmp_path: Path) -> None:
    """200 runs of 4 nodes, whose processes are killed at random moments until all of them have ended."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    journal = tmp_path / "journal.jsonl"
    threads = [f"t{number:03}" for number in range(THREADS)]
    command = [sys.executable, str(Path(__file__).with_name("killed_client.py")), own_database, str(journal)]
    crews = [subprocess.Popen([*command, str(seed + share), *threads[share::2]], process_group=0) for share in range(2)]
    try:
        deadline = time.monotonic() + PATIENCE
        assert [crew.wait(deadline - time.monotonic()) for crew in crews] == [0, 0]
    finally:
        for crew in crews:
            with suppress(ProcessLookupError):
                os.killpg(crew.pid, signal.SIGKILL)
            crew.wait()
    kept: dict[str, set[str]] = {}
    ran: Counter[tuple[str, str]] = Counter()
    ended: dict[str, list[str]] = {}
    kills = 0
    resumed: Counter[int] = Counter()
    for line in map(json.loads, journal.read_text("utf-8").splitlines()):
        thread = line["thread"]
        match line["what"]:
            case "kept":
                assert kept.get(thread, set()) <= set(line["nodes"]), f"{thread} lost what it had"
                kept[thread] = set(line["nodes"])
                resumed[len(line["nodes"])] += 1
            case "ran":
                assert line["node"] not in kept.get(thread, ()), f"{thread} ran {line['node']} again"
                ran[thread, line["node"]] += 1
            case "ended":
                ended[thread] = line["steps"]
            case "killed":
                kills += 1
    print(f"{kills} kills, threads resumed by finished nodes: {dict(resumed)}, repeated: {sum(ran.values()) - 800}")
    assert len(ended) == THREADS
    assert set(map(tuple, ended.values())) == {("n1", "n2", "n3", "n4")}
    assert kills >= 5, "hardly a process was killed: the test is wrong"
    assert set(resumed) >= {0, 1, 2, 3}, "no run was killed at some points: the test is wrong"
    with psycopg.connect(own_database) as connection:
        for what, query in ORPHANS.items():
            assert connection.execute(query).fetchall() == [], what
        (stored,) = connection.execute("SELECT count(DISTINCT thread_id) FROM checkpoints").fetchone() or (0,)
        assert stored == THREADS


async def test_ctrl_c_leaves_a_thread_that_can_be_resumed(
    own_database: str, tmp_path: Path, make_chain: "Callable[..., Chain]"
) -> None:
    """A node of the first run waits for ever, until SIGINT comes; the program ends as any that is interrupted."""
    program = Path(__file__).with_name("interrupted_client.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), own_database, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout
    assert await asyncio.wait_for(process.stdout.readline(), PATIENCE) == b"n2 waits\n"
    process.send_signal(signal.SIGINT)
    _, errors = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == -signal.SIGINT, errors
    assert errors.rstrip().endswith(b"KeyboardInterrupt"), errors
    async with open_checkpointer(own_database, settings=Settings(_env_file=None)) as saver:
        chain = make_chain(saver, size=3)
        assert (await chain.run("a", None))["steps"] == ["n1", "n2", "n3"]
        assert set(chain.ran) == {("a", "n2"), ("a", "n3")}, "n1 was finished"
