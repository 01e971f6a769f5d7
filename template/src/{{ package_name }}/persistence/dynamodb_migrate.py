"""The table and the bucket: made by a migration, and looked at before they are used.

Any number of processes may make them at once: DynamoDB and S3 let one of them do it, and the others wait for it.
"""

import asyncio
from contextlib import suppress
from typing import Any

from botocore.exceptions import ClientError  # type: ignore[import-untyped] # without stubs

from ..errors import PROGRAM, ProjectError
from ..settings import Settings
from .dynamodb_client import Answer, Client, in_time, open_client
from .dynamodb_errors import (
    FAILED,
    ActionDenied,
    BucketMissing,
    BucketRefused,
    PrefixTaken,
    TableMissing,
    TableUnknown,
    code_of,
)
from .errors import MigrationBusy

POLL = 0.5  # seconds between two looks at a table that is being made
KEY = [("p", "HASH"), ("k", "RANGE")]

_LEGACY = "us-east-1"  # the only region that S3 wants not to be named


async def migrate(url: str, settings: Settings, wait: float) -> list[str]:
    """Make the table and the bucket and return a line for each; nothing if they were there.

    Raises DatabaseUnreachable, MigrationBusy, TableUnknown, BucketRefused, PrefixTaken, and what is wrong with the
    credentials.
    """
    async with open_client(url, settings) as client:
        done = [*await _make_table(client, wait), *await _make_bucket(client, wait)]
        await check(client, settings)
        return done


async def check(client: Client, settings: Settings) -> None:
    """Look whether the table and the bucket can be used, and whether the prefix is this project's."""
    async with in_time(client, settings):
        await _check_table(client)
        await _check_bucket(client)
        await _check_owner(client)


async def _check_table(client: Client) -> None:
    table = (await client.table("describe_table", TableName=client.place.table))["Table"]
    if table["TableStatus"] == "CREATING":
        raise TableMissing(client.where, client.place)
    types = {attribute["AttributeName"]: attribute["AttributeType"] for attribute in table["AttributeDefinitions"]}
    found = [(key["AttributeName"], key["KeyType"]) for key in table["KeySchema"]]
    if found != KEY or {types[name] for name, _ in found} != {"S"}:
        raise TableUnknown(client.where, ", ".join(f"{name} ({types[name]})" for name, _ in found))


async def _check_bucket(client: Client) -> None:
    try:
        found = (await client.bucket("head_bucket")).get("BucketRegion")
    except ActionDenied as denied:
        raise BucketRefused(client.where, client.place, _REFUSED) from denied
    except ClientError as error:  # an answer to HEAD has no text, and so no name of what is wrong
        code = code_of(error)
        if code == "404":
            raise BucketMissing(client.where, client.place) from error
        if code == "403":
            raise BucketRefused(client.where, client.place, _REFUSED) from error
        if code == "400":
            raise BucketRefused(client.where, client.place, "AWS does not show (400)") from error
        if code in {"301", "PermanentRedirect"}:
            raise BucketRefused(client.where, client.place, f"is not in {client.place.region}") from error
        raise
    # boto3 follows the redirection to another region without a word.
    if found and found != client.place.region and not client.place.endpoint:
        raise BucketRefused(client.where, client.place, f"is in {found} and not in {client.place.region}")


async def _check_owner(client: Client) -> None:
    """Take the prefix for this program, if it is nobody's yet."""
    key = {"p": {"S": f"{client.place.prefix}/owner"}, "k": {"S": "owner"}}
    where = {"TableName": client.place.table}
    for _ in range(2):
        found = (await client.table("get_item", **where, Key=key, ConsistentRead=True)).get("Item")
        if found:
            owner = found["v"]["B"].decode()
            if owner != PROGRAM:
                raise PrefixTaken(client.where, client.place.prefix, owner)
            return
        try:
            item = {**key, "v": {"B": PROGRAM.encode()}}
            await client.table("put_item", **where, Item=item, ConditionExpression="attribute_not_exists(p)")
        except ClientError as error:
            if not code_of(error).startswith(FAILED):
                raise


async def _make_table(client: Client, wait: float) -> list[str]:
    name, loop = client.place.table, asyncio.get_running_loop()
    deadline = loop.time() + wait
    done = []
    if await _status(client) is None:
        try:
            await client.table(
                "create_table",
                TableName=name,
                AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key, _ in KEY],
                KeySchema=[{"AttributeName": key, "KeyType": kind} for key, kind in KEY],
                BillingMode="PAY_PER_REQUEST",
            )
            done.append(f"table {name}, paid by the request")
        except ClientError as error:
            if code_of(error) != "ResourceInUseException":  # another process makes it
                raise
    while await _status(client) not in {"ACTIVE", "UPDATING"}:
        if loop.time() > deadline:
            raise MigrationBusy(client.where, wait)
        await asyncio.sleep(POLL)
    if done:  # it cannot be had for a while after a table was made
        left = max(1.0, deadline - loop.time())
        switched = client.table("update_continuous_backups", left, TableName=name, **_RECOVERY)
        done.append(f"point-in-time recovery of {name}" if await _succeeds(switched) else _OFF.format(table=name))
    return done


async def _make_bucket(client: Client, wait: float) -> list[str]:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    region = client.place.region
    within = {} if region == _LEGACY else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    while True:
        with suppress(BucketMissing):
            await _check_bucket(client)
            return []
        try:
            await client.bucket("create_bucket", **within)
        except ClientError as error:
            if code_of(error) == "BucketAlreadyExists":
                raise BucketRefused(client.where, client.place, "belongs to another account") from error
            if code_of(error) not in {"BucketAlreadyOwnedByYou", "OperationAborted"}:  # another process makes it
                raise
        else:
            break
        if loop.time() > deadline:
            raise MigrationBusy(client.where, wait)
        await asyncio.sleep(POLL)
    while not await _succeeds(_check_bucket(client)):  # one that was just made may be unknown for a while
        if loop.time() > deadline:
            break
        await asyncio.sleep(POLL)
    done = [f"bucket {client.place.bucket}"]
    if await _succeeds(client.bucket("put_public_access_block", PublicAccessBlockConfiguration=_PRIVATE)):
        done.append(f"block of public access to {client.place.bucket}")
    return done


async def _status(client: Client) -> str | None:
    try:
        found = await client.table("describe_table", TableName=client.place.table)
    except TableMissing:
        return None
    return str(found["Table"]["TableStatus"])


async def _succeeds(call: Any) -> bool:  # Any: a coroutine
    """Tell whether what would be good to have could be had: a role may lack the right, a region the feature."""
    with suppress(ProjectError, ClientError):
        await call
        return True
    return False


_RECOVERY: Answer = {"PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True}}
_PRIVATE: Answer = dict.fromkeys(
    ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
)
_OFF = "point-in-time recovery of {table} is OFF: aws dynamodb update-continuous-backups switches it on"
_REFUSED = "belongs to another account, or the role has no s3:ListBucket for it"
