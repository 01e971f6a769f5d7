"""What a table says of itself, for `doctor`."""

from botocore.exceptions import ClientError  # type: ignore[import-untyped] # without stubs

from ..errors import ProjectError
from .dynamodb_client import Answer, Client


async def facts_of(client: Client) -> list[str]:
    """Return how a table is kept and paid for, how large it is, and whether it can be brought back as it was."""
    table = (await client.table("describe_table", TableName=client.place.table))["Table"]
    mode = table.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")
    paid = "paid by the request" if mode == "PAY_PER_REQUEST" else f"with provisioned capacity ({mode})"
    size = table.get("TableSizeBytes", 0) / 1e6
    return [
        f"table {client.place.table} in {client.place.region}, {table['TableStatus'].lower()}, {paid}",
        f"about {table.get('ItemCount', 0)} items of {size:.1f} MB, as AWS counts them every six hours",
        f"point-in-time recovery {await _recovery(client)}",
        f"values of more than 32 kB in the bucket {client.place.bucket}, under {client.place.prefix}/",
    ]


async def _recovery(client: Client) -> str:
    try:
        found: Answer = await client.table("describe_continuous_backups", TableName=client.place.table)
    except (ProjectError, ClientError):  # a role may lack the right
        return "not said"
    recovery = found["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription", {})
    return "on" if recovery.get("PointInTimeRecoveryStatus") == "ENABLED" else "off"
