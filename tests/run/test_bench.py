"""`make bench`: that it measures everything and says so. What it measures is no test's business."""

import os
import re
import subprocess
import sys

import pytest

from template import ROOT

VARIANTS = [
    "no checkpointer",
    "`InMemorySaver`",
    "stock, `from_conn_string`",
    "stock over a pool",
    "**ours**",
    "**ours**, with two bare statements a run",
    "**ours**, as runs of the ledger",
]
FLOOR = "plain SQL, the same rows"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of the benchmark, which was as brief as it can be."""
    folder = tmp_path_factory.mktemp("modules")
    (folder / "acme_agent").symlink_to(ROOT / "template" / "src" / "{{ package_name }}")
    brief = ["--quick", "--seconds", "0.02", "--runs", "3", "--growth", "30"]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *brief],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT / "tests")])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def table(report: str, title: str) -> dict[str, list[str]]:
    """The rows of the table under a title, without its head, by their first cell."""
    lines = report.partition(f"### {title}\n")[2].partition("###")[0].strip().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return {row[0]: row[1:] for row in rows}


def test_every_variant_is_in_the_table_with_every_figure(report: str) -> None:
    near = table(report, "3 runs at once, loopback")
    assert list(near) == [*VARIANTS, FLOOR]
    distant = table(report, "3 runs at once, 4 ms round trip added")
    assert list(distant) == [*VARIANTS[2:], FLOOR]
    for row in (*near.values(), *distant.values()):
        assert all(re.match(r"\d+\.\d", cell) for cell in row), row
    assert float(distant[FLOOR][-1]) == 1.5, "six transactions, one round trip each, for four supersteps"


def test_the_proxy_is_as_far_away_as_it_says(report: str) -> None:
    near, distant = re.findall(r"SELECT 1` ([\d.]+) ms, and ([\d.]+) ms", report)[0]
    assert float(distant) - float(near) >= 4
    p50 = table(report, "3 runs at once, 4 ms round trip added")["stock, `from_conn_string`"][3]
    assert float(p50) >= 8, "the writes and the checkpoint are a round trip each"


def test_growth_tells_the_policies_apart(report: str) -> None:
    rows = report.partition("### A thread of 30 turns\n")[2].strip().splitlines()[2:]
    bytes_per_turn = {
        row.split("|")[2].strip(): int(row.split("|")[3].replace(",", "")) for row in rows if "ours" in row
    }
    assert bytes_per_turn["plain"] > bytes_per_turn["summarised"] > 2 * bytes_per_turn["pruned"] > 0


def test_the_page_has_a_place_for_the_figures() -> None:
    # Its absence would be found only at the end of a quarter of an hour.
    page = (ROOT / "docs" / "performance.md").read_text()
    assert [line for line in page.splitlines() if line.startswith("<!-- bench:")] == [
        "<!-- bench: what follows is written by `make bench` -->",
        "<!-- bench: end -->",
    ]
