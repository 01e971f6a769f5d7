"""A set-up that hangs: who is in the way of a migration."""

from collections.abc import AsyncIterator, Sequence

from ..agent import AgentSettings
from ..errors import PROGRAM, ProjectError
from ..persistence import open_checkpointer
from ..persistence.inspection import Inspection, Session, open_inspection
from ..persistence.urls import describe
from .finding import Finding, fine, lasted, unusable
from .place import place

OLD = 5.0  # seconds that a transaction is open, as long as a migration waits for one
WAIT = 0.5  # seconds for a lock


async def diagnose_schema(settings: AgentSettings, problems: Sequence[Finding] = ()) -> list[Finding]:
    """Return who blocks whom, what could block a migration that is begun now, and what one has left behind."""
    found = list(problems)
    try:
        async with open_inspection(settings) as inspection:
            found.append(await place(settings, await inspection.place() if inspection else None))
            if inspection is None:
                return [*found, fine("schema", "no migration is needed here: nothing can hang")]
            found += [finding async for finding in _obstacles(inspection)]
            if any(finding.subject == "blocked" for finding in found):
                return found  # looking at the tables might wait as long
        async with open_checkpointer(settings.checkpoint_url, settings=settings):
            found.append(fine("schema", f"the tables of {describe(settings.checkpoint_url)} are up to date"))
    except ProjectError as error:
        found.append(unusable(error))
    return found


async def _obstacles(inspection: Inspection) -> AsyncIterator[Finding]:
    set_up = await inspection.set_up(OLD)
    for session in set_up.migrating:
        yield Finding(
            "migration",
            "warning",
            f"{session} is migrating: others wait for it. If it hangs or is frozen, end it: {_end(session)}",
        )
    for wait in await inspection.waits(WAIT):
        yield Finding(
            "blocked",
            "wrong",
            f"{wait.waiting} has waited {lasted(wait.seconds)} with: {wait.statement}. It waits for "
            f"{', '.join(map(str, wait.blockers))}. Let that finish, or end it: {_end(wait.blockers[0])}",
        )
    for transaction in set_up.transactions:
        reasons = []
        if transaction.snapshot:
            reasons.append("it holds a snapshot, for whose end CREATE INDEX CONCURRENTLY waits")
        if transaction.tables:
            reasons.append(f"it has locked {', '.join(transaction.tables)}")
        if reasons:
            yield Finding(
                "open transaction",
                "warning",
                f"{transaction.session}: {' and '.join(reasons)}. Let it finish before a migration, or end it: "
                f"{_end(transaction.session)}",
            )
    for index in set_up.invalid_indexes:
        yield Finding(
            "invalid index",
            "wrong",
            f"{index}: a set-up was cut off while it was built, no query uses it, and CREATE INDEX IF NOT EXISTS takes "
            f"it for there. Type: {PROGRAM} migrate",
        )
    timeouts = ", ".join(f"{name}={setting}" for name, setting in set_up.timeouts.items())
    yield fine("timeouts", f"{timeouts}; `{PROGRAM} migrate` sets its own lock_timeout and no statement_timeout")
    if not set_up.sees_all:
        yield Finding(
            "rights",
            "warning",
            "this role does not see what sessions of other roles do: as a superuser, GRANT pg_read_all_stats TO it",
        )


def _end(session: Session) -> str:
    return f"SELECT pg_terminate_backend({session.pid});" if session.pid else "ROLLBACK PREPARED ...;"
