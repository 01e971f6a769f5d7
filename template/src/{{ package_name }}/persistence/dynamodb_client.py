"""How this project talks to DynamoDB and S3: boto3's clients, in threads, which wait out what passes by itself.

boto3 repeats nothing here (it would not know for how long), so a call is repeated as it is: a transaction goes with a
token by which DynamoDB knows it again, and is made once though its answer was lost.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

from boto3.session import Session  # type: ignore[import-untyped] # without stubs
from botocore.config import Config  # type: ignore[import-untyped] # without stubs
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped] # without stubs

from ..errors import ProjectError
from ..settings import Settings
from .dynamodb_errors import DENIED, GONE, ActionDenied, blips, code_of, mended, passes, reason_of
from .dynamodb_url import Place, place_of
from .errors import DatabaseUnreachable
from .urls import describe

logger = logging.getLogger(__name__)

T = TypeVar("T")
Answer = dict[str, Any]  # Any: boto3 has no types

FIRST_PAUSE = 0.02  # seconds before a call is made again; twice as long each time, up to
LONGEST_PAUSE = 1.0  # seconds
WRONG = 2.0  # seconds that a clock must be off to be corrected: servers tell their time in whole seconds
DELETED = 1000  # objects that S3 deletes at once


class _Clients(NamedTuple):
    """boto3's; Any: it has no types."""

    tables: Any
    objects: Any


class Client:
    """The table and the bucket of a URL. All calls raise DatabaseUnreachable, and what `dynamodb_errors` has."""

    def __init__(self, url: str, settings: Settings, clients: _Clients, threads: ThreadPoolExecutor) -> None:
        """Use clients and threads that are there for as long as this is used."""
        self.where = describe(url)
        self.place = place_of(url)
        self.patience = settings.database_timeout  # seconds that a call is repeated; `open_client` raises it
        self.trouble = ""  # why a call is repeated at this moment
        self._has_worked = False  # so that its credentials are there, and what hinders their renewal passes
        self.ahead = 0.0  # seconds that the servers' clock is ahead of this machine's, if it is far off
        self._clients = clients
        self._threads = threads

    async def table(self, operation: str, patience: float | None = None, /, **parameters: Any) -> Answer:
        """Call an operation of DynamoDB."""
        return await self.patiently(partial(getattr(self._clients.tables, operation), **parameters), patience)

    async def bucket(self, operation: str, **parameters: Any) -> Answer:
        """Call an operation of S3 on the bucket."""
        method = partial(getattr(self._clients.objects, operation), Bucket=self.place.bucket)
        return await self.patiently(partial(method, **parameters))

    async def store(self, item: bytes) -> str:
        """Store an object, and return its new name."""
        name = f"{self.place.prefix}/{uuid4()}"
        await self.bucket("put_object", Key=name, Body=item)
        return name

    async def load(self, name: str) -> bytes | None:
        """Return an object; None if it is gone."""

        def read() -> bytes:
            found = self._clients.objects.get_object(Bucket=self.place.bucket, Key=name)
            item: bytes = found["Body"].read()
            return item

        try:
            return await self.patiently(read)
        except ClientError as error:
            if code_of(error) in GONE:
                return None
            raise

    async def forget(self, names: list[str], *, must: bool = False) -> None:
        """Delete objects to which no item leads, or log that they lie there still.

        With `must`, as for who was asked to delete them, raises ActionDenied if the role may not.
        """
        for start in range(0, len(names), DELETED):
            objects = [{"Key": name} for name in names[start : start + DELETED]]
            try:
                answer = await self.bucket("delete_objects", Delete={"Objects": objects, "Quiet": True})
                left = {str(error.get("Code")) for error in answer.get("Errors", ())}  # of some of them, in a success
                if left & DENIED:
                    raise ActionDenied(self.where, self.place, "s3:DeleteObject")
                if left:
                    logger.warning("objects of the bucket %s stay: %s", self.place.bucket, ", ".join(sorted(left)))
            except (ProjectError, ClientError) as error:
                if must and isinstance(error, ActionDenied):
                    raise
                logger.warning("objects of the bucket %s stay: %s", self.place.bucket, error)

    async def patiently(self, call: Callable[[], T], patience: float | None = None) -> T:
        """Return what a call returns, which is repeated while what is wrong with it may pass."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (self.patience if patience is None else patience)
        pause = FIRST_PAUSE
        while True:
            try:
                found = await loop.run_in_executor(self._threads, call)
            except (BotoCoreError, ClientError, RuntimeError) as error:  # the last one: see `blips`
                may_pass = passes(error) or (self._has_worked and blips(error))
                if not may_pass or loop.time() + pause > deadline:
                    better = mended(error, self.where, self.place)
                    if better is error:
                        raise
                    raise better from error
                self.trouble = reason_of(error)
            else:
                self.trouble, self._has_worked = "", True
                self._set_clock(found)
                return found
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - spreads the processes
            pause = min(pause * 2, LONGEST_PAUSE)

    def _set_clock(self, answer: object) -> None:
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}) if isinstance(answer, dict) else {}
        with suppress(KeyError, ValueError):
            ahead = parsedate_to_datetime(headers["date"]).timestamp() + 0.5 - time.time()
            self.ahead = ahead if abs(ahead) > WRONG else 0.0


@asynccontextmanager
async def open_client(url: str, settings: Settings) -> AsyncIterator[Client]:
    """Yield a client that has called nothing yet. Raises CredentialsMissing for a profile that is not there."""
    threads = ThreadPoolExecutor(settings.database_pool_max, thread_name_prefix="dynamodb")
    loop = asyncio.get_running_loop()
    place = place_of(url)
    clients: _Clients | None = None
    try:
        try:
            clients = await loop.run_in_executor(threads, _connect, place, settings)
        except BotoCoreError as error:
            raise mended(error, describe(url), place) from error
        yield Client(url, settings, clients, threads)
    finally:
        # Not waited for: a thread may be at a server that is silent. What is under way was given up by its caller.
        threads.shutdown(wait=False, cancel_futures=True)
        for client in clients or ():
            client.close()


@asynccontextmanager
async def in_time(client: Client, settings: Settings) -> AsyncIterator[None]:
    """Give what is looked at first as long as a connection has. Raises DatabaseUnreachable."""
    try:
        async with asyncio.timeout(settings.database_timeout):
            yield
    except TimeoutError:
        reason = client.trouble or f"no answer within {settings.database_timeout:g} s"
        raise DatabaseUnreachable(client.where, reason) from None


def _connect(place: Place, settings: Settings) -> _Clients:
    config = Config(
        region_name=place.region,
        connect_timeout=settings.database_timeout / 2,
        read_timeout=settings.database_timeout,
        max_pool_connections=settings.database_pool_max,
        retries={"mode": "standard", "total_max_attempts": 1},
        s3={"addressing_style": "path"} if place.endpoint else None,
    )
    session = Session(region_name=place.region)
    return _Clients(*(session.client(name, endpoint_url=place.endpoint, config=config) for name in ("dynamodb", "s3")))
