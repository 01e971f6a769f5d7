"""A key that would protect nothing, or sealing where there is none, is refused and never pretended."""

import base64
import secrets
from pathlib import Path
from typing import Any

import pytest
from acme_agent.persistence import open_checkpointer
from acme_agent.persistence.errors import BadCheckpointKey, SealingImpossible
from acme_agent.settings import Settings
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.serde.types import TASKS
from langgraph.types import Send

pytestmark = pytest.mark.anyio


def new_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def keyed(settings: Settings, key: str, **more: Any) -> Settings:
    """Return the settings with a key."""
    return Settings(_env_file=None, data_dir=settings.data_dir, database_pool_max=4, checkpoint_key=key, **more)


BAD_KEYS = {
    "hush-hush": "base64",
    base64.b64encode(b"short").decode(): "5 bytes, not 32",
    secrets.token_hex(32): "48 bytes, not 32",
    base64.b64encode(bytes(32)).decode(): "not random",
    base64.b64encode(bytes(range(32))).decode(): "not random",
    base64.b64encode(b"correct horse battery staple 123").decode(): "not random",
}


@pytest.mark.parametrize(("key", "reason"), BAD_KEYS.items(), ids=["text", "short", "hex", "zeros", "counted", "words"])
async def test_a_bad_key_is_refused_at_the_start_and_not_shown(
    key: str, reason: str, database: str, settings: Settings
) -> None:
    for name, wrong in (
        ("CHECKPOINT_KEY ", keyed(settings, key)),
        ("CHECKPOINT_KEY_OLD ", keyed(settings, new_key(), checkpoint_key_old=key)),
    ):
        with pytest.raises(BadCheckpointKey, match=reason) as caught:
            async with open_checkpointer(database, settings=wrong):
                pass
        assert str(caught.value).startswith(name)
        assert "secrets.token_bytes(32)" in str(caught.value)
        assert key not in str(caught.value)


async def test_an_old_key_alone_is_refused(database: str, settings: Settings) -> None:
    with pytest.raises(BadCheckpointKey, match="is empty"):
        async with open_checkpointer(database, settings=keyed(settings, "", checkpoint_key_old=new_key())):
            pass


async def test_sqlite_does_not_pretend_to_seal(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(SealingImpossible, match="is not sealed"):
        async with open_checkpointer(f"sqlite:///{tmp_path / 'threads.db'}", settings=keyed(settings, new_key())):
            pass
    assert not (tmp_path / "threads.db").exists()


async def test_what_langgraph_before_0_5_would_have_sent_is_not_lost_in_silence(
    database: str, settings: Settings
) -> None:
    first: Any = {"configurable": {"thread_id": "t-1", "checkpoint_ns": ""}}
    async with open_checkpointer(database, settings=keyed(settings, new_key())) as saver:
        parent = await saver.aput(first, empty_checkpoint(), {}, {})  # of version 2, like its child
        await saver.aput_writes(parent, [(TASKS, Send("node", 1))], "task")
        child = await saver.aput(parent, empty_checkpoint(), {}, {})
        assert await saver.aget_tuple(parent)
        with pytest.raises(SealingImpossible, match=r"LangGraph before 0\.5"):
            await saver.aget_tuple(child)
