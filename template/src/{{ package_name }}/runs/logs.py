"""Log lines that say which run they belong to, from our loggers and the libraries' alike."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import structlog
from langchain_core.runnables import RunnableConfig

from ..settings import redact


def configure_logging(level: str, style: Literal["console", "json"]) -> None:
    """Send the standard library's logging to stderr, a line a record, with the run's ids; secrets are blanked out."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _redact,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("aiosqlite").setLevel(logging.INFO)  # at DEBUG it shows every statement with its values


@contextmanager
def run_logged(config: RunnableConfig) -> Iterator[None]:
    """Bind the run's thread and metadata to every log line inside the block."""
    with structlog.contextvars.bound_contextvars(thread_id=config["configurable"]["thread_id"], **config["metadata"]):
        yield


def _redact(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {key: redact(value) if isinstance(value, str) else value for key, value in event.items()}
