"""A URL copied from another program works, and no message ever shows the password in it."""

import sys
import traceback

import pytest
from acme_agent.agent import AgentSettings
from acme_agent.diagnosis.place import place
from acme_agent.persistence import BadDatabaseUrl, LibraryMissing
from acme_agent.persistence.sqlite_url import sqlite_path
from acme_agent.persistence.urls import describe, module_of, normalise
from pydantic import SecretStr

PASSWORD = "s3cr3t-Pa55w0rd"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "POSTGRESQL"])
@pytest.mark.parametrize("driver", ["", "+asyncpg", "+psycopg", "+psycopg2", "+psycopg_async"])
def test_the_driver_suffix_of_another_program_is_dropped(scheme: str, driver: str) -> None:
    assert normalise(f"{scheme}{driver}://u:p@h:5432/db") == "postgresql://u:p@h:5432/db"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///db?host=/socket",  # urlunsplit makes postgresql:/db of it
        "postgresql://",
        "postgresql://h/db?options=-c%20search_path%3Da+b",  # libpq takes a plus literally, urlencode would not
        "postgresql://u:p%40ss%2Fw%3A%23@h:5432/db",
        "postgresql://a:1,b:2/db?target_session_attrs=read-write",
        "postgresql://u@[::1]:5432/db",
        "postgresql://%2Fsocket/db",
        "sqlite:///relative/path.db",
        "sqlite:////absolute/path with spaces, # and %20.db",
    ],
)
def test_a_good_url_is_left_alone(url: str) -> None:
    assert normalise(url) == url
    assert normalise(f" {url}\n") == url  # a secret file ends with a line break


def test_what_only_tunes_another_program_is_dropped_and_the_rest_kept() -> None:
    url = "postgresql+asyncpg://h/db?pool_size=5&application_name=x&prepared_statement_cache_size=0&max_overflow=1"
    assert normalise(url) == "postgresql://h/db?application_name=x"
    assert normalise("postgresql://h/db?pool_size=5") == "postgresql://h/db"


@pytest.mark.parametrize(
    ("given", "libpq"),
    [("true", "require"), ("False", "disable"), ("require", "require"), ("verify-full", "verify-full")],
)
def test_ssl_as_asyncpg_writes_it_still_encrypts(given: str, libpq: str) -> None:
    assert normalise(f"postgresql://h/db?ssl={given}") == f"postgresql://h/db?sslmode={libpq}"


def test_three_slashes_are_relative_and_four_absolute() -> None:
    assert str(sqlite_path(normalise("sqlite:///a/b.db"))) == "a/b.db"
    assert str(sqlite_path(normalise("sqlite+aiosqlite:////a/b.db"))) == "/a/b.db"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "   ",
        f"host=h user=u password={PASSWORD}",
        f"postgresql:{PASSWORD}",
        f"postgresql://u:{PASSWORD}\n@h/db",
        f"sqlite:///{PASSWORD}\0.db",
        f"mysql://u:{PASSWORD}@h/db",
        f"{PASSWORD} ://h/db",
        f"postgresql://u:{PASSWORD}@more@h/db",
        f"postgresql://u:{PASSWORD}/more@h/db",
        f"postgresql://u:{PASSWORD}#more@h/db",
        f"postgresql://u:{PASSWORD}?more@h/db",
        f"postgresql://u:12/{PASSWORD}@h/db",  # "12" would pass for a port and the rest for a database
        f"postgresql://u:12?{PASSWORD}=@h/db",
        f"postgresql://u:{PASSWORD} more@h/db",
        f"postgresql://u:{PASSWORD}%zz@h/db",
        f"postgresql://u:{PASSWORD}@h:port/db",
        f"postgresql://u:{PASSWORD}@h:54 32/db",
        f"postgresql://u:{PASSWORD}@[::1/db",
        f"sqlite://{PASSWORD}.db",
        f"sqlite:///a.db?key={PASSWORD}",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=memory",
    ],
)
def test_an_unreadable_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(BadDatabaseUrl) as caught:
        normalise(url)
    assert PASSWORD not in "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert "acme-agent doctor" in str(caught.value)
    assert describe(url) == "the database"


def test_an_unknown_scheme_names_the_supported_ones() -> None:
    with pytest.raises(BadDatabaseUrl, match=r"'mysql'.*postgresql.*sqlite"):
        normalise("mysql://u:p@h/db")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"postgres+asyncpg://u:{PASSWORD}@h:5432/db?passfile=x", "postgresql://u@h:5432/db"),
        (f"postgresql://u:a:{PASSWORD}@h", "postgresql://u@h"),
        (f"postgresql:///db?host=/socket&password={PASSWORD}", "postgresql:///db"),
        ("sqlite:///a/b.db", "sqlite:///a/b.db"),
    ],
)
def test_a_message_names_the_database_without_password_and_parameters(url: str, shown: str) -> None:
    assert describe(url) == shown


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "acme_agent.persistence.valkey", raising=False)
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(LibraryMissing, match=r"module redis\.asyncio is not installed.*uv sync"):
        module_of("valkey")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"redis://u:{PASSWORD}@h/0?prefix=x", "redis://u@h/0?prefix=x;"),
        (
            "dynamodb://agent?region=eu-west-1&bucket=abc&prefix=x",
            "dynamodb://agent?region=eu-west-1&bucket=abc&prefix=x;",
        ),
        (f"postgresql://u@h/d?password={PASSWORD}", "postgresql://u@h/d;"),
    ],
    ids=["of valkey", "of dynamodb", "of postgres"],
)
async def test_a_place_is_shown_as_a_whole_and_without_secrets(url: str, shown: str) -> None:
    found = await place(AgentSettings(_env_file=None, database_url=SecretStr(url)), None)
    assert shown in found.text
    assert PASSWORD not in found.text
