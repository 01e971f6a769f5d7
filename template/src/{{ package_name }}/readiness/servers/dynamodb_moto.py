"""moto as a server that answers one request at a time: `python dynamodb_moto.py HOST PORT`.

A script, which imports nothing of the package: compose.yaml runs it, too. moto copies the table for each operation of a
transaction, keeps the copies, and undoes a transaction by putting one back. So nobody else is to write meanwhile; and
here a copy shares the items, which Put and Delete replace and do not change (Update does), and is let go of: else a
transaction takes seconds, and some hundred thousand of them gigabytes. A query looks at its own partition only.
"""

import sys
from collections.abc import Iterable
from threading import Lock
from typing import Any

from moto.dynamodb.models.table import Table
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

_query = Table.query


def _copy(table: Table, _memo: object) -> Table:
    twin: Table = object.__new__(type(table))  # moto keeps those that are made in its own way
    twin.__dict__ = dict(table.__dict__)
    twin.items = type(table.items)(table.items.default_factory, {key: dict(of) for key, of in table.items.items()})
    return twin


def _query_partition(table: Table, hash_key: Any, *others: Any, **named: Any) -> Any:  # Any: as moto has them
    whole = table.items
    table.items = type(whole)(whole.default_factory, {hash_key: whole[hash_key]} if hash_key in whole else {})
    try:
        return _query(table, hash_key, *others, **named)
    finally:
        table.items = whole


def main(host: str, port: int) -> None:
    """Serve until the process is ended."""
    setattr(Table, "__deepcopy__", _copy)  # noqa: B010 - moto has no such method
    setattr(Table, "query", _query_partition)  # noqa: B010 - nor would mypy take this one
    application, turn = DomainDispatcherApplication(create_backend_app), Lock()

    def one_at_a_time(environ: Any, start_response: Any) -> Iterable[bytes]:  # Any: as WSGI has them
        with turn:
            return list(application(environ, start_response))

    run_simple(host, port, one_at_a_time, threaded=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
