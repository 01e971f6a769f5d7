"""`doctor` looks at everything: what is wrong in one place hides nothing in another."""

from __future__ import annotations  # Shell has a name for mypy only

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

if TYPE_CHECKING:
    import subprocess

    from plumbing.conftest import Shell  # tests are not a package: nothing can be imported from there
    from plumbing.diagnosis.conftest import Doctor

QUESTION = "How many books may a member borrow?"


def test_all_is_well(server: Shell, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    server("run", QUESTION, "--thread-id", "t")
    found = doctor()
    assert doctor.code == 0
    assert {
        *("python", "langgraph", "environment", "strict types", "agent", "graph", "place", "clock", "pool", "workers"),
        *("database", "storing", "retention", "runs"),
    } <= set(found)
    assert found["runs"][0]["text"] == "1 done"
    assert found["retention"][0]["text"].endswith("never purged")
    assert "of acme-agent from 127.0.0.1" in found["pool"][0]["text"] or "none" in found["pool"][0]["text"]
    monkeypatch.setenv("ACTOR", "jo")
    server("purge")
    assert "1 threads looked at; 0 rows went" in doctor()["retention"][0]["text"]
    server("purge", "--dry-run")


def test_every_wrong_setting_is_named_and_the_rest_is_looked_at(
    server: Shell, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("LOG_LEVEL", "LOUD"), ("DATABASE_TIMEOUT", "soon"), ("MODEL", "nobody:nothing")):
        monkeypatch.setenv(name, value)
    found = doctor()
    assert [finding["text"].partition(":")[0] for finding in found["settings"]] == ["DATABASE_TIMEOUT", "LOG_LEVEL"]
    assert found["agent"][0]["level"] == "wrong"
    assert found["database"][0]["level"] == found["storing"][0]["level"] == "ok"


def test_settings_that_do_not_fit_together_hide_nothing(
    server: Shell, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_POOL_MIN", "99")
    found = doctor()
    assert "DATABASE_POOL_MAX" in found["settings"][0]["text"]
    assert "pool" in found


def test_a_direct_url_that_leads_nowhere_is_told_from_the_other(
    server: Shell, doctor: Doctor, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    monkeypatch.setenv("DATABASE_DIRECT_URL", re.sub(r":\d+/", ":1/", database))
    found = doctor()
    wrong, fine = found["database"]
    assert (wrong["level"], fine["level"]) == ("wrong", "ok")
    assert "Mend DATABASE_DIRECT_URL" in wrong["text"]
    assert server("migrate") == 2
    assert "Mend DATABASE_DIRECT_URL" in server.err


def test_production_without_a_database_makes_no_file(
    shell: Shell, doctor: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")
    found = doctor()
    assert doctor.code == 1
    assert "needs DATABASE_URL" in found["settings"][0]["text"]
    assert found["environment"][0]["text"] == "production"
    assert not (tmp_path / ".data" / "threads.db").exists()


def test_strict_types_that_came_too_late(command: Callable[..., subprocess.Popen[str]]) -> None:
    code = "import langgraph.checkpoint.serde.jsonplus; from acme_agent.cli import main; main()"
    out, _ = command("doctor", "--json", code=code).communicate()
    (finding,) = [fact for fact in map(json.loads, out.splitlines()) if fact["subject"] == "strict types"]
    assert finding["level"] == "wrong"
    assert "after LangGraph had been imported" in finding["text"]


def test_clocks_that_differ(server: Shell, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor()["clock"][0]["level"] == "ok"
    monkeypatch.setattr("acme_agent.persistence.postgres_inspection.time", lambda: time.time() - 3600)
    (finding,) = doctor()["clock"]
    assert finding["level"] == "warning"
    assert "the database's is 60 min ahead of this machine's" in finding["text"]


def test_too_few_connections(server: Shell, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acme_agent.diagnosis.deployment.FULL", 0.0)
    monkeypatch.setenv("DATABASE_POOL_MAX", "10000")
    (finding,) = doctor()["pool"]
    assert finding["level"] == "warning"
    assert "lower it, raise max_connections" in finding["text"]


def test_questions_that_are_open_for_too_long(
    server: Shell, doctor: Doctor, connection: psycopg.Connection[Any]
) -> None:
    server("run", QUESTION, "--approve", "--thread-id", "t")
    assert "overdue questions" not in doctor()
    connection.execute("UPDATE agent_questions SET until = now() - interval '1 hour'")
    assert doctor()["overdue questions"][0]["text"].startswith("1 are open longer than APPROVAL_HOURS")


def test_people_get_a_table(server: Shell) -> None:
    assert server("doctor") == 0
    assert "tables are up to date" in server.out
    assert "WRONG" not in server.out


def test_every_backend_has_all_three(
    shell: Shell, doctor: Doctor, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    shell("run", QUESTION, "--thread-id", "t")
    for arguments in ((), ("--thread", "t"), ("--schema",)):
        doctor(*arguments)
        assert doctor.code == 0
