"""R01 durable backend: what loses threads and says nothing, and code that only looks like it."""

from harness import Case, assert_fails, assert_holds

POOL = '''"""The checkpointer of the service."""

import logging

from langgraph.checkpoint.base import BaseCheckpointSaver
{imports}

logger = logging.getLogger(__name__)


class Service:
    """The service."""

    pool: AsyncConnectionPool | None = None

    async def connect(self, url: str) -> AsyncConnectionPool | None:
        """Return the pool."""
        try:
            self.pool = AsyncConnectionPool(url, open=False)
            await self.pool.open()
        except Exception as error:
            logger.warning("going on without the pool: %s", error)
            {otherwise}
        return self.pool
'''

FALLBACK = '''"""The checkpointer of the service."""

import logging

from langgraph.checkpoint.memory import MemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

logger = logging.getLogger(__name__)


def checkpointer(connection):
    """Return the checkpointer."""
    try:
        return AsyncSqliteSaver(connection)
    except Exception:
        logger.warning("in memory")
        return MemorySaver()
'''


def test_a_fall_back_to_memory(case: Case) -> None:
    """Any error of the backend, and the service goes on with a saver in memory."""
    case.write("service.py", FALLBACK)
    found = assert_fails(case, "R01", "uses MemorySaver", "fails, goes on with another one", scenario="straight-pass")
    assert "open_runs(settings)" in found.checks["R01"]["remedy"]


def test_a_fall_back_to_nothing(case: Case) -> None:
    """In production, of all places: the pool cannot be opened, and the graph is compiled without a checkpointer."""
    imports = "from psycopg_pool import AsyncConnectionPool"
    case.write("service.py", POOL.format(imports=imports, otherwise="return None"))
    assert_fails(case, "R01", "when opening the checkpointer fails, returns None", scenario="straight-pass")


def test_an_error_that_is_only_logged(case: Case) -> None:
    imports = "from psycopg_pool import AsyncConnectionPool"
    case.write("service.py", POOL.format(imports=imports, otherwise="pass"))
    assert_fails(case, "R01", "when opening the checkpointer fails, goes on", scenario="straight-pass")


def test_a_saver_in_memory_by_another_name(case: Case) -> None:
    """A new one for each request, which forgets the thread with it."""
    case.write(
        "service.py",
        '"""The service."""\n\nfrom langgraph.checkpoint import memory\n\n\ndef graph(builder):\n'
        '    """Return the graph."""\n    return builder.compile(checkpointer=memory.InMemorySaver())\n',
    )
    assert_fails(case, "R01", "uses InMemorySaver, whose threads are lost", scenario="straight-pass")


def test_a_validator_that_is_overridden(case: Case) -> None:
    """Production takes everything then, R16's pool of one and default passwords included."""
    case.replace("agent/settings.py", "from pydantic import Field", "from pydantic import Field, model_validator")
    settings = case.package / "agent" / "settings.py"
    settings.write_text(
        f"{settings.read_text()}\n    @model_validator(mode='after')\n    def _production_is_durable(self):\n"
        "        return self\n"
    )
    assert_fails(
        case,
        "R01",
        "ENVIRONMENT=production takes no DATABASE_URL",
        "ENVIRONMENT=production takes SQLite and REPLICAS=3",
        also={"R16"},  # the same validator refuses what R16 is about
        scenario="straight-pass",
    )


def test_localhost_let_through(case: Case) -> None:
    """For a proxy beside the pod, and for all others too."""
    case.replace("production.py", ' or host.startswith("127.")', "")
    assert_fails(case, "R01", "ENVIRONMENT=production takes a server on 127.0.0.1", scenario="straight-pass")


def test_errors_that_are_answered(case: Case) -> None:
    """What raises, answers with the failure, or speaks of a thread that is not there does not fall back."""
    case.write(
        "service.py",
        '''"""The service."""

from langgraph.checkpoint.memory import InMemorySaver

from .persistence import DatabaseUnreachable, open_checkpointer
from .runs import UnknownThread, open_runs


async def status(settings, thread):
    """Return a thread's status; None if there is no such thread."""
    try:
        async with open_runs(settings) as runs:
            return await runs.status(thread)
    except UnknownThread:
        return None


async def answer(settings, thread):
    """Return a response."""
    try:
        async with open_runs(settings) as runs:
            found = await runs.status(thread)
    except DatabaseUnreachable as error:
        return 503, str(error)
    return 200, found.condition


async def connect(url, settings, stack):
    """Return the checkpointer, with another error if there is none."""
    try:
        saver = await stack.enter_async_context(open_checkpointer(url, settings=settings))
    except DatabaseUnreachable as error:
        raise RuntimeError("no database") from error
    if isinstance(saver, InMemorySaver):
        raise TypeError(saver)
    return saver
''',
    )
    assert_holds(case, "R01", scenario="straight-pass")


def test_stricter_settings(case: Case) -> None:
    """A team may refuse more: SQLite altogether, and need a setting of its own."""
    case.replace("agent/settings.py", "from pydantic import Field", "from pydantic import Field, model_validator")
    settings = case.package / "agent" / "settings.py"
    settings.write_text(
        f"{settings.read_text()}\n    @model_validator(mode='after')\n    def _a_server_in_production(self):\n"
        "        if self.environment == 'production' and self.checkpoint_url.startswith('sqlite'):\n"
        "            raise ValueError('ENVIRONMENT=production needs a server')\n"
        "        return self\n"
    )
    assert_holds(case, "R01", scenario="straight-pass")
