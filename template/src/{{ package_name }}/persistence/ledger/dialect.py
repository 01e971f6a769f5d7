"""Where databases say the same thing in other words; all else in the ledger's SQL is the same."""

import re
from dataclasses import dataclass

PHRASES = {
    "run": """
    run_id, thread_id, position, status, attempt, crashes, retries, stalled_at, input IS NOT NULL AS has_input,
    holder, wish, error, graph_version, release, accepted_at, changed_at, <silent> AS silent""",
    "question": """
    question_id, run_id, thread_id, node, payload_type, payload, schema, asked_at, until, state, answer_type, answer,
    actor""",
    "first": """NOT EXISTS (
    SELECT 1 FROM agent_runs AS earlier
    WHERE earlier.thread_id = agent_runs.thread_id
        AND earlier.position < agent_runs.position
        AND earlier.status IN ('queued', 'running', 'waiting')
    LIMIT 1 OFFSET 0
)""",
    "blank": """NOT EXISTS (
    SELECT 1 FROM checkpoints WHERE checkpoints.thread_id = agent_runs.thread_id LIMIT 1 OFFSET 0
)""",
}
"""What several statements say, in words of the dialects."""


@dataclass(frozen=True)
class Dialect:
    """The words that `statements` and `tables` leave open."""

    now: str
    ago: str  # so many seconds before now: %(seconds)s
    soon: str  # so many seconds after now, NULL for NULL: %(seconds)s
    silent: str  # seconds since beat_at
    runs: str  # the ids of %(runs)s, a list
    holders: str  # those of %(holders)s
    questions: str  # those of %(questions)s
    lock: str  # at the end of a SELECT whose rows are to be changed
    position: str  # the type of a number that grows with every row, the primary key
    time: str
    blob: str
    json: str
    append_only: str  # what makes the database refuse to change or delete a line of the audit
    given: str  # rows with these columns: one of parameters, or of many callers together, on a server
    column: str  # one of them, with its type

    def spell(self, text: str) -> str:
        """Return a statement in this dialect."""
        for word, spelling in (*PHRASES.items(), *self.__dict__.items()):
            text = text.replace(f"<{word}>", spelling)
        return _GIVEN.sub(self._given, text)

    def _given(self, columns: re.Match[str]) -> str:
        return self.given.format(", ".join(self.column.format(*column.split()) for column in columns[1].split(", ")))


_GIVEN = re.compile(r"<given: ([^>]*)>")


# The time is always the database's: workers' clocks may be an hour apart.
SQLITE = Dialect(
    now="strftime('%%Y-%%m-%%dT%%H:%%M:%%f+00:00', 'now')",
    ago="strftime('%%Y-%%m-%%dT%%H:%%M:%%f+00:00', 'now', -%(seconds)s || ' seconds')",
    soon="strftime('%%Y-%%m-%%dT%%H:%%M:%%f+00:00', 'now', %(seconds)s || ' seconds')",
    silent="coalesce((julianday('now') - julianday(beat_at)) * 86400.0, 0.0)",
    runs="SELECT value FROM json_each(%(runs)s)",
    holders="SELECT value FROM json_each(%(holders)s)",
    questions="SELECT value FROM json_each(%(questions)s)",
    lock="",  # a writing transaction has the whole file
    position="integer PRIMARY KEY AUTOINCREMENT",
    time="text",
    blob="blob",
    json="text",
    append_only="""
CREATE TRIGGER IF NOT EXISTS agent_audit_append_only BEFORE UPDATE ON agent_audit
BEGIN
    SELECT raise(ABORT, 'agent_audit is append-only');
END""",
    given="SELECT {}",
    column="%({0})s AS {0}",
)
