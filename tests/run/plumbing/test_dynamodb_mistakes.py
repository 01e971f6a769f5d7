"""A mistake in the URL, in AWS or in its rights says how to mend it, and shows no secret."""

import asyncio
import socket
from contextlib import closing
from typing import Any

import boto3  # type: ignore[import-untyped] # without stubs
import pytest
from acme_agent.persistence import BadDatabaseUrl, DatabaseUnreachable, SchemaMissing, migrate, open_checkpointer
from acme_agent.persistence import dynamodb_client as driver
from acme_agent.persistence.dynamodb import DynamodbItems
from acme_agent.persistence.dynamodb_errors import (
    ActionDenied,
    BucketMissing,
    BucketRefused,
    CredentialsMissing,
    CredentialsRefused,
    PrefixTaken,
    TableMissing,
    TableUnknown,
    mended,
)
from acme_agent.persistence.dynamodb_url import place_of
from acme_agent.persistence.urls import describe, normalise
from acme_agent.settings import Settings
from botocore.exceptions import ClientError  # type: ignore[import-untyped] # without stubs

SECRET = "s3cr3t-Pa55w0rd"


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        ("?region=eu-west-1&bucket=name", "names no table"),
        ("a/b?region=eu-west-1&bucket=name", "table that is not 3 to 255"),
        ("table?bucket=name", "has no region"),
        ("table?region=Ireland&bucket=name", "region that is not like eu-west-1"),
        ("table?region=eu-west-1", "has no bucket"),
        ("table?region=eu-west-1&bucket=A", "bucket that is not 3 to 63"),
        ("table?region=eu-west-1&bucket=name&prefix=a/b", "prefix that is not 1 to 40"),
        ("table?region=eu-west-1&bucket=name&endpoint=ftp%3A%2F%2Fh", "endpoint that is not like"),
        ("table?region=eu-west-1&bucket=name&profile=x", "parameter 'profile'; known are region, bucket"),
        ("table?region=eu-west-1&bucket=name&ttl=5", "ttl, which would delete threads that wait"),
        (f"AKIA:{SECRET}@table?region=eu-west-1&bucket=name", "give the process a role, or set AWS_ACCESS_KEY_ID"),
        (f"table?region=eu-west-1&bucket=name&endpoint=http://u:{SECRET}@h", "takes none: give the process a role"),
        (f"table?region=eu-west-1&bucket=name&aws_secret_access_key={SECRET}", "has the parameter"),
    ],
)
def test_a_url_that_cannot_be_used_says_why(rest: str, reason: str) -> None:
    with pytest.raises(BadDatabaseUrl, match=reason) as caught:
        normalise(f"dynamodb://{rest}")
    assert SECRET not in str(caught.value)
    assert "DATABASE_URL to dynamodb://agent?region=eu-west-1&bucket=agent-values" in str(caught.value)


@pytest.mark.parametrize("region", ["us-gov-west-1", "ap-southeast-7", "mx-central-1", "eusc-de-east-1"])
def test_a_region_of_aws_is_taken(region: str) -> None:
    assert place_of(normalise(f"dynamodb://table?region={region}&bucket=name")).region == region


def test_a_url_is_shown_as_the_table_alone() -> None:
    url = "dynamodb://threads?region=eu-west-1&bucket=name&endpoint=http%3A%2F%2Flocalhost%3A5000"
    assert normalise(url) == url
    assert describe(url) == "dynamodb://threads"
    assert place_of(url) == ("threads", "eu-west-1", "name", "acme-agent", "http://localhost:5000")


async def _opened(url: str, settings: Settings) -> None:
    async with open_checkpointer(url, settings=settings):
        pass


async def test_a_missing_table_or_bucket_is_named_and_made_by_a_migration(
    dynamodb_endpoint: str, settings: Settings
) -> None:
    rest = f"?region=eu-west-1&bucket=made-by-migration&endpoint={dynamodb_endpoint}"
    url = f"dynamodb://made-by-migration{rest}"
    with pytest.raises(TableMissing, match=r"no table made-by-migration in eu-west-1. Type: acme-agent migrate"):
        await _opened(url, settings)
    lines = await asyncio.gather(*(migrate(url, settings=settings) for _ in range(4)))
    assert sorted(line for some in lines for line in some) == [
        "block of public access to made-by-migration",
        "bucket made-by-migration",
        "point-in-time recovery of made-by-migration",
        "table made-by-migration, paid by the request",
    ]
    assert await migrate(url, settings=settings) == []
    with pytest.raises(BucketMissing, match=r"bucket not-made, which is not there. Type: acme-agent migrate") as caught:
        await _opened(url.replace("bucket=made-by-migration", "bucket=not-made"), settings)
    assert isinstance(caught.value, SchemaMissing)
    async with driver.open_client(url, settings) as client:
        facts = "\n".join(await DynamodbItems(client).facts())
    assert "table made-by-migration in eu-west-1, active, paid by the request" in facts
    assert "point-in-time recovery on" in facts


async def test_another_programs_table_is_left_alone(dynamodb_url: str, settings: Settings) -> None:
    place = place_of(dynamodb_url)
    tables = boto3.client("dynamodb", region_name=place.region, endpoint_url=place.endpoint)
    tables.create_table(
        TableName="another",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "N"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    tables.close()
    url = dynamodb_url.replace(place.table, "another")
    for use in (_opened(url, settings), migrate(url, settings=settings)):
        with pytest.raises(TableUnknown, match=r"key id \(N\), not with the texts p and k"):
            await use


async def test_another_projects_prefix_is_left_alone(
    dynamodb_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _opened(dynamodb_url, settings)
    monkeypatch.setattr("acme_agent.persistence.dynamodb_migrate.PROGRAM", "other-agent")
    with pytest.raises(PrefixTaken, match=r"project acme-agent under the prefix acme-agent: .*&prefix=NAME"):
        await _opened(dynamodb_url, settings)


async def test_without_credentials_it_says_where_they_belong(
    dynamodb_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(CredentialsMissing, match="Give the process a role, or set AWS_ACCESS_KEY_ID"):
        await _opened(dynamodb_url, settings)
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(CredentialsMissing, match="nobody"):
        await _opened(dynamodb_url, settings)


@pytest.mark.parametrize(
    ("code", "operation", "kind", "says"),
    [
        ("AccessDeniedException", "TransactWriteItems", ActionDenied, "dynamodb:PutItem on the table table"),
        ("AccessDenied", "AssumeRoleWithWebIdentity", ActionDenied, "role's trust policy name what it runs as"),
        ("AccessDenied", "PutObject", ActionDenied, "s3:PutObject on the bucket name"),
        ("UnrecognizedClientException", "GetItem", CredentialsRefused, "UnrecognizedClientException. Renew them"),
        ("InvalidSignatureException", "GetItem", CredentialsRefused, "clock by NTP"),
        ("ExpiredTokenException", "GetItem", CredentialsRefused, "ExpiredTokenException"),
        ("ResourceNotFoundException", "GetItem", TableMissing, "acme-agent migrate"),
        ("NoSuchBucket", "PutObject", BucketMissing, "bucket name, which is not there"),
        ("ThrottlingException", "GetItem", DatabaseUnreachable, "ThrottlingException"),
    ],
)
def test_what_aws_refuses_is_told_with_its_remedy(code: str, operation: str, kind: type, says: str) -> None:
    denied = "User: arn:aws:iam::1:user/x is not authorized to perform: dynamodb:PutItem on resource: y"
    text = denied if operation == "TransactWriteItems" else f"x-amz-security-token:{SECRET}"
    error = ClientError({"Error": {"Code": code, "Message": text}}, operation)
    url = "dynamodb://table?region=eu-west-1&bucket=name"
    found = mended(error, describe(url), place_of(url))
    assert isinstance(found, kind)
    assert says in str(found)
    assert SECRET not in str(found)


async def test_a_bucket_that_may_not_be_used_is_told_from_a_missing_one(
    dynamodb_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = driver._connect
    answer = {"Error": {"Code": "403", "Message": "Forbidden"}}

    def connect(*place: Any) -> Any:
        clients = real(*place)

        def head_bucket(**_: Any) -> Any:
            raise ClientError(answer, "HeadBucket")

        clients.objects.head_bucket = head_bucket
        return clients

    monkeypatch.setattr(driver, "_connect", connect)
    with pytest.raises(BucketRefused, match="belongs to another account, or the role has no s3:ListBucket"):
        await _opened(dynamodb_url, settings)
    answer["Error"]["Code"] = "301"
    with pytest.raises(BucketRefused, match="is not in eu-west-1"):
        await migrate(dynamodb_url, settings=settings)


async def test_a_bucket_in_another_region_is_refused(
    dynamodb_endpoint: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """boto3 would follow AWS there without a word, and with it the values of all threads."""
    endpoint = f"http://{dynamodb_endpoint.rpartition('/')[2]}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)  # and not in the URL, as with AWS
    with closing(boto3.client("s3", region_name="us-west-2")) as client:
        client.create_bucket(Bucket="far-away", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    with pytest.raises(BucketRefused, match="is in us-west-2 and not in eu-west-1"):
        await migrate("dynamodb://near?region=eu-west-1&bucket=far-away", settings=settings)


@pytest.mark.parametrize(
    ("times", "end"), [(2, ""), (99, " is OFF: aws dynamodb update-continuous-backups switches it on")]
)
async def test_what_is_new_takes_its_time(
    times: int, end: str, dynamodb_endpoint: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table whose backups are still being enabled, and a bucket that not every server of S3 knows yet."""
    real, calls = driver._connect, list[str]()

    def connect(*place: Any) -> Any:
        clients = real(*place)
        tables, objects = clients
        recover, look, block = tables.update_continuous_backups, objects.head_bucket, objects.put_public_access_block

        def called(name: str, call: Any, error: str, fails: range) -> Any:
            def calling(**parameters: Any) -> Any:
                calls.append(name)
                if calls.count(name) - 1 in fails:
                    raise ClientError({"Error": {"Code": error}}, name)
                return call(**parameters)

            return calling

        tables.update_continuous_backups = called(
            "recover", recover, "ContinuousBackupsUnavailableException", range(times)
        )
        objects.head_bucket = called("look", look, "404", range(1, 3))  # the first one says so by itself
        objects.put_public_access_block = called("block", block, "", range(0))
        return clients

    monkeypatch.setattr(driver, "_connect", connect)
    name = f"late-{times}"
    url = f"dynamodb://{name}?region=eu-west-1&bucket={name}&endpoint={dynamodb_endpoint}"
    lines = await migrate(url, settings=settings, wait=3)
    assert f"point-in-time recovery of {name}{end}" in lines
    assert f"block of public access to {name}" in lines
    assert calls.index("block") > [place for place, call in enumerate(calls) if call == "look"][3]


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.usefixtures("dynamodb_endpoint")
async def test_a_server_that_does_not_answer_is_given_up_in_time(silent: bool) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if silent:
            listener.listen()
        endpoint = f"127.0.0.1:{listener.getsockname()[1]}"
        url = f"dynamodb://table?region=eu-west-1&bucket=name&endpoint={endpoint}"
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(DatabaseUnreachable, match="no answer within 1.5 s" if silent else endpoint):
            await _opened(url, Settings(_env_file=None, database_timeout=1.5))
        assert loop.time() - began < 20  # and not DATABASE_PATIENCE
