"""Pytest fixtures for DynamoDB and S3, as moto plays them: one server for the session, a table of a test's own."""

import asyncio
from collections.abc import Iterator
from uuid import uuid4

import boto3  # type: ignore[import-untyped] # without stubs
import pytest

from ...persistence import migrate
from ...persistence.dynamodb_url import place_of
from .dynamodb_server import ENVIRONMENT, dynamodb_server

REGION, BUCKET = "eu-west-1", "test-values"


@pytest.fixture(scope="session")
def dynamodb_endpoint() -> Iterator[str]:
    """The endpoint of a server; this process and its children have credentials for it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
            patch.delenv(name, raising=False)
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        with dynamodb_server() as endpoint:
            yield endpoint


@pytest.fixture
def dynamodb_url(dynamodb_endpoint: str) -> Iterator[str]:
    """The URL of a table of the test's own, ready to be used; the bucket belongs to all tests."""
    url = url_at(dynamodb_endpoint)
    asyncio.run(migrate(url))
    yield url
    place = place_of(url)
    client = boto3.client("dynamodb", region_name=place.region, endpoint_url=place.endpoint)
    client.delete_table(TableName=place.table)
    client.close()


def url_at(endpoint: str) -> str:
    """Return the URL of a table that is nobody's yet, on the server with this endpoint."""
    return f"dynamodb://test-{uuid4().hex[:12]}?region={REGION}&bucket={BUCKET}&endpoint={endpoint}"
