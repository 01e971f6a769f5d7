"""What a run costs does not grow with the runs that there were, not even before PostgreSQL has counted them."""

from typing import Any
from uuid import uuid4

import psycopg
from acme_agent.agent import AgentSettings
from acme_agent.persistence import INPUT, Fence, fenced, migrate, open_checkpointer, open_ledger
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import empty_checkpoint
from pydantic import SecretStr

RUNS = 40  # before and after
EARLIER = 2000  # runs that are over
READ = "SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'agent_runs'"


async def test_no_statement_of_a_run_reads_all_runs(database: str, connection: psycopg.Connection[Any]) -> None:
    """A plan that was made while the table was small is kept; it must not be one that reads the whole table."""
    one = AgentSettings(_env_file=None, database_url=SecretStr(database), database_pool_min=1, database_pool_max=1)
    await migrate(database, settings=one)
    connection.execute("ALTER TABLE agent_runs SET (autovacuum_enabled = off)")
    async with open_checkpointer(database, settings=one) as saver:
        ledger = open_ledger(saver)

        async def run() -> None:
            thread = str(uuid4())
            begun = await ledger.begin(str(uuid4()), thread, {"log": ["in"]}, holder="me")
            assert begun
            config: RunnableConfig = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
            with fenced(Fence(begun.run_id, begun.attempt, INPUT)):
                await saver.aput(config, empty_checkpoint(), {"source": "input"}, {})
            settled = await ledger.settle(begun, "done")
            assert not settled.has_input

        for _ in range(RUNS):
            await run()
        connection.execute(
            "INSERT INTO agent_runs (run_id, thread_id, status, accepted_at, changed_at) "
            "SELECT number::text, number::text, 'done', now(), now() FROM generate_series(1, %s) AS number",
            (EARLIER,),
        )
        for _ in range(RUNS):
            await run()
    # The server's process has told by now what it read: it has ended.
    (read,) = connection.execute(READ).fetchone() or (None,)
    assert read is not None
    assert read < EARLIER, read
