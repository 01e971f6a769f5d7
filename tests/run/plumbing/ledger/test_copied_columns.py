"""A column that the ledger's tables get is copied with the rest, or it is said here why not."""

import re
from typing import Any

import psycopg
import pytest
from acme_agent.persistence.ledger import copying

MADE_ANEW = {
    "agent_runs": {"position", "beat_at", "wish"},  # the order is that of insertion; nobody holds the run yet
    "agent_questions": set(),
    "agent_audit": {"entry"},
}
PUT = {"agent_runs": copying.PUT_RUN, "agent_questions": copying.PUT_QUESTION, "agent_audit": copying.PUT_AUDIT}


@pytest.mark.parametrize("table", PUT)
def test_all_columns_are_copied(connection: psycopg.Connection[Any], table: str) -> None:
    query = "SELECT column_name FROM information_schema.columns WHERE table_name = %s"
    columns = {name for (name,) in connection.execute(query, (table,))}
    copied = set(re.findall(r"\w+", PUT[table][PUT[table].index("(") : PUT[table].index(")")]))
    assert columns - MADE_ANEW[table] == copied
