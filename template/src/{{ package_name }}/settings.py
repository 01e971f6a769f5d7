"""What a deployment can set: environment variables, or the lines of a `.env` file.

The team's own settings extend this class in `agent/settings.py`; the run gets them as its context.
"""

import getpass
import os
import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from .production import refusals

_SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)(_OLD)?$")
_SHORTEST_SECRET = 8  # characters; blanking shorter values would garble ordinary text


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid {os.getuid()}"


class Settings(BaseSettings):
    """Settings of every agent project. Secrets are `SecretStr`, so no message or traceback shows them."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True)

    environment: Literal["development", "test", "production"] = "development"
    data_dir: Path = Field(Path(".data"), description="Where embedded databases and indexes live.")

    database_url: SecretStr = Field(
        SecretStr(""), description="As docs/persistence.md has it; empty: a SQLite file in data_dir."
    )
    database_direct_url: SecretStr = Field(
        SecretStr(""), description="Straight to the server, past a transaction pooler; empty: DATABASE_URL does."
    )
    database_timeout: float = Field(8.0, gt=0, le=60, description="Seconds to wait for a connection.")
    database_patience: float = Field(30.0, ge=1, le=600, description="Seconds that a run waits out an outage.")
    database_pool_min: int = Field(1, ge=0, description="Connections held open, a process.")
    database_pool_max: int = Field(10, ge=1, description="Connections at most, a process.")
    database_max_connections: int = Field(
        100, ge=1, description="What DATABASE_URL leads to takes: the server's limit, or the pooler's."
    )
    replicas: int = Field(1, ge=1, description="Processes at most that share the database, an autoscaler's included.")

    checkpoint_key: SecretStr = Field(
        SecretStr(""), description="Seals the checkpoints, where it can: 32 random bytes in base64. Empty: clear text."
    )
    checkpoint_key_old: SecretStr = Field(SecretStr(""), description="Keys before it, comma-separated: they only read.")
    checkpoint_plaintext: Literal["refuse", "read"] = Field(
        "refuse", description="With a key: whether threads that were begun without one are still read."
    )
    checkpoint_batches: int = Field(2, ge=1, description="Batches of checkpoints under way at once, a process.")

    # What `purge` forgets. Unset: nothing, ever.
    audit_window_days: float | None = Field(
        None, gt=0, le=36500, description="Finished threads are deleted when they are older."
    )
    paused_ttl_days: float | None = Field(
        None, gt=0, le=36500, description="Threads that wait for an answer expire when they are older."
    )
    history_keep: int | None = Field(None, ge=1, le=10_000, description="Checkpoints kept of a thread that lives.")

    run_mode: Literal["reject", "enqueue", "interrupt"] = Field(
        "enqueue", description="A second run of a thread: is refused, waits, or waits while the first one is stopped."
    )
    run_crash_limit: int = Field(
        3, ge=1, le=1000, description="Processes that may die with a run that does not get on, before it is given up."
    )
    run_retries: int = Field(3, ge=0, le=100, description="Times that a worker tries a run again after an error.")
    purge_schedule: str = Field(
        "30 3 * * *", description="When workers purge: cron, in UTC. Empty: never, something else does."
    )
    approval_hours: float | None = Field(72, gt=0, description="Hours that a question stays open; None: for ever.")
    approval_expiry: Literal["remind", "reject", "escalate"] = Field(
        "remind", description="What happens to a question after APPROVAL_HOURS."
    )
    actor: str = Field(
        default_factory=_user, description="Who acts, for the audit; empty: the operating system's user."
    )

    recursion_limit: int = Field(25, ge=1, le=1000, description="Supersteps a run may take, a call.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "WARNING"
    log_format: Literal["console", "json"] = "console"

    @property
    def checkpoint_url(self) -> str:
        """The database URL, secrets included: for opening it, never for a message."""
        return self.database_url.get_secret_value() or f"sqlite:///{self.data_dir / 'threads.db'}"

    @property
    def migration_url(self) -> str:
        """The URL for migrations, and for whatever else needs a connection of its own. As secret as the other."""
        return self.database_direct_url.get_secret_value() or self.checkpoint_url

    @model_validator(mode="after")
    def _production_is_durable(self) -> Self:
        if self.database_pool_min > self.database_pool_max:
            raise ValueError("DATABASE_POOL_MIN is above DATABASE_POOL_MAX: lower one or raise the other")
        if self.environment == "production" and (found := list(refusals(self))):
            raise ValueError("; ".join(found))
        return self


def problems_of(error: ValidationError) -> list[tuple[str, str]]:
    """Return what pydantic refuses: the variable's name, empty where several do not fit together, and why."""
    return [
        ("_".join(map(str, found["loc"])).upper(), str(found.get("ctx", {}).get("error") or found["msg"]))
        for found in error.errors()
    ]


def redact(text: str) -> str:
    """Return the text with the value of every environment variable that is named like a secret blanked out."""
    for name, value in os.environ.items():
        if len(value) >= _SHORTEST_SECRET and _SECRET_NAME.search(name.upper()):
            text = text.replace(value, "***")
    # Not what a remedy tells people to write.
    return re.sub(r"(\w+://[^\s:/@]*:)(?!password@host[:/])[^\s@]+@", r"\1***@", text)
