"""Production starts only with settings that can serve it, and says what is wrong with others, never a password."""

import base64
from pathlib import Path
from typing import Any

import pytest
from acme_agent.settings import Settings
from pydantic import Field, SecretStr, ValidationError

PASSWORD = "s3cr3t-Pa55w0rd"
SERVER = f"postgresql://role:{PASSWORD}@db.internal:5432/agent"
POOLER = f"postgresql://role:{PASSWORD}@pgbouncer.internal:6432/agent"


def refused(given: type[Settings] = Settings, **values: Any) -> str:
    """Return why production refuses values; nothing if it takes them."""
    try:
        given(_env_file=None, environment="production", **{"database_url": SERVER, **values})
    except ValidationError as error:
        said = str(error)
    else:
        return ""
    assert PASSWORD not in said
    return said


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"database_url": "sqlite:////var/lib/agent/threads.db"},
        {"database_url": "sqlite:////tmpfiles/threads.db"},
        {"database_url": POOLER, "database_direct_url": SERVER},
        {"database_url": "postgres://role@db.internal/agent"},  # no password: certificates, a cloud's identity
        {"database_url": f"postgresql://agent:{PASSWORD}@a.internal:5432,b.internal:5432/agent"},
        {"database_url": f"postgresql://role:{PASSWORD}@/agent?host=/cloudsql/project:zone:name"},
        {"database_url": f"postgresql://role:{PASSWORD}@[fd00::1]:5432/agent"},
        {"database_url": "postgresql:///?service=agent"},
        {"database_url": "dynamodb://agent?region=eu-west-1&bucket=agent-values", "replicas": 200},
        {"database_url": f"rediss://agent:{PASSWORD}@cache.internal:6380/0?prefix=a"},
        {"replicas": 8},
        {"replicas": 10, "database_url": POOLER, "database_direct_url": SERVER},
        {"replicas": 30, "database_max_connections": 400},
        {"checkpoint_key": "z2noTaXexxA4kzXHixcAyBDlTlCnCXQ/MrMnIsgMiZI="},  # as `openssl rand` makes one
        {"checkpoint_key": "not base64"},  # refused where it is read, with what is wrong with it
    ],
    ids=str,
)
def test_production_takes(values: dict[str, Any]) -> None:
    assert refused(**values) == ""


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"database_url": ""}, "needs DATABASE_URL"),
        ({"database_url": "sqlite:///:memory:"}, "in memory"),
        ({"database_url": "sqlite:////tmp/threads.db"}, "a disk that is kept"),
        ({"database_url": "sqlite:////dev/shm/a/threads.db"}, "a disk that is kept"),
        ({"database_url": "sqlite:////var/lib/../tmp/threads.db"}, "a disk that is kept"),
        ({"database_url": "sqlite:////var/lib/threads.db", "replicas": 2}, "SQLite with REPLICAS=2"),
        ({"database_url": f"postgresql://role:{PASSWORD}@localhost/agent"}, "on localhost: set DATABASE_URL"),
        ({"database_url": f"postgres://role:{PASSWORD}@127.1.2.3:5432/agent"}, "on localhost"),
        ({"database_url": f"postgresql://role:{PASSWORD}@[::1]:5432/agent"}, "on localhost"),
        ({"database_url": f"postgresql://role:{PASSWORD}@db.internal,localhost/agent"}, "on localhost"),
        ({"database_url": f"postgresql://role:{PASSWORD}@/agent?host=localhost"}, "on localhost"),
        ({"database_url": "postgresql:///agent"}, "on localhost"),
        ({"database_url": "redis://:x8Kq2vN4pZ@localhost:6379/0"}, "on localhost"),
        (
            {"database_url": "dynamodb://t-1?region=eu-west-1&bucket=b-1&endpoint=http%3A%2F%2Flocalhost%3A5000"},
            "on localhost",
        ),
        ({"database_url": "dynamodb://t-1?region=eu-west-1&bucket=b-1&endpoint=127.0.0.1:5000"}, "on localhost"),
        ({"database_url": "redis://:redis@cache.internal:6379/0"}, "a default that everybody knows"),
        ({"database_url": POOLER, "database_direct_url": SERVER.replace("db.internal", "::1")}, "localhost"),
        ({"database_url": POOLER}, "without DATABASE_DIRECT_URL"),
        ({"database_url": f"postgresql://role:{PASSWORD}@x-pooler.eu.example/agent"}, "without DATABASE_DIRECT_URL"),
        ({"database_pool_max": 1}, "DATABASE_POOL_MAX=1"),
        ({"replicas": 9}, "108 connections, REPLICAS=9 times DATABASE_POOL_MAX=10 + 2"),
        ({"replicas": 11, "database_url": POOLER, "database_direct_url": SERVER}, "110 connections"),
        ({"database_url": "postgresql://agent:agent@db.internal/agent"}, "a default that everybody knows"),
        ({"database_url": "postgresql://role:Change%2DMe@db.internal/agent"}, "a default that everybody knows"),
        ({"database_url": "postgresql://role@db.internal/agent?password=postgres"}, "a default that everybody knows"),
        ({"database_direct_url": "postgresql://role:secret@db.internal/agent"}, "password in DATABASE_DIRECT_URL"),
        ({"checkpoint_key": base64.b64encode(bytes(32)).decode()}, "this CHECKPOINT_KEY"),
        ({"checkpoint_key": base64.b64encode(bytes(range(32))).decode()}, "this CHECKPOINT_KEY"),
        ({"checkpoint_key": base64.b64encode(b"please-replace-this-key-in-prod!").decode()}, "this CHECKPOINT_KEY"),
    ],
    ids=str,
)
def test_production_refuses(values: dict[str, Any], said: str) -> None:
    assert said in refused(**values)
    Settings(_env_file=None, environment="development", **values)


def test_all_that_is_wrong_is_told_at_once() -> None:
    found = refused(database_url="postgresql://agent:agent@localhost/agent", database_pool_max=1)
    assert "localhost" in found
    assert "default that everybody knows" in found
    assert "DATABASE_POOL_MAX=1" in found


def test_secrets_of_the_team_have_no_default() -> None:
    class Team(Settings):
        signing_key: SecretStr = SecretStr("dev-only-signing-key")
        crm_token: str = "let-me-in"
        cache_key: str = "answers"  # no secret
        webhook_secret: SecretStr = Field(SecretStr(""))

    found = refused(Team)
    assert "the default of SIGNING_KEY" in found
    assert "the default of CRM_TOKEN" in found
    assert "CACHE_KEY" not in found
    assert "WEBHOOK_SECRET" not in found
    assert "dev-only" not in found
    assert refused(Team, signing_key="k-91fd", crm_token="t-4c2a") == ""


def test_a_file_relative_to_an_ephemeral_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/tmp")
    assert "a disk that is kept" in refused(database_url="sqlite:///threads.db")
    monkeypatch.chdir(Path("/"))
    assert refused(database_url="sqlite:///threads.db") == ""
