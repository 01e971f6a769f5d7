"""What can be wrong with a table in DynamoDB and its bucket, each with its remedy; and what passes by itself."""

import re
from typing import Any

from botocore.exceptions import (  # type: ignore[import-untyped] # without stubs
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - its name
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOTokenLoadError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)

from ..errors import PROGRAM, ProjectError
from .dynamodb_url import PREFIX, Place
from .errors import DatabaseUnreachable, SchemaMissing

CANCELLED = "TransactionCanceledException"
FAILED = "ConditionalCheckFailed"  # a reason of that; by itself it has "Exception" behind it
GONE = {"NoSuchKey", "404"}  # an object

_LOST = (ConnectionError, HTTPClientError, IncompleteReadError)
_NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    ProfileNotFound,
    SSOTokenLoadError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
_BAD_CREDENTIALS = {
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "InvalidToken",
    "MissingAuthenticationTokenException",
    "RequestExpired",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedAccess"}
_PASSING = {
    "ContinuousBackupsUnavailableException",
    "InternalServerError",
    "LimitExceededException",
    "ProvisionedThroughputExceeded",
    "ProvisionedThroughputExceededException",
    "ReplicatedWriteConflictException",
    "RequestLimitExceeded",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingError",
    "ThrottlingException",
    "TransactionConflict",
    "TransactionConflictException",
    "TransactionInProgressException",
}
_THROTTLED = re.compile("Throttl|Throughput|SlowDown|RequestLimit")
_ACTION = re.compile(r"not authorized to perform: ([\w:]+)")


class CredentialsMissing(ProjectError):
    """Nothing says who this process is."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(
            f"{where} cannot be used without AWS credentials: {reason}. Give the process a role, or set "
            f"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, in its environment, then type: {PROGRAM} "
            "doctor"
        )


class CredentialsRefused(ProjectError):
    """AWS does not know these credentials, or not any more."""

    def __init__(self, where: str, code: str) -> None:
        super().__init__(
            f"AWS refuses the credentials for {where}: {code}. Renew them, and set this machine's clock by NTP "
            f"(timedatectl) if they are right, then type: {PROGRAM} doctor"
        )


class ActionDenied(ProjectError):
    """The role may not do what has to be done."""

    def __init__(self, where: str, place: Place, action: str) -> None:
        of = {
            "s3": f"on the bucket {place.bucket}, for {where}. Add it to the role's policy",
            "sts": f"to this process, for {where}. Let the role's trust policy name what it runs as",
            "kms": f"on the key of the table or the bucket, for {where}. Add it to the key's policy and to the role's",
        }
        usual = f"on the table {place.table}, for {where}. Add it to the role's policy"
        super().__init__(f"AWS denies {action} {of.get(action.partition(':')[0], usual)}, then go on")


class TableMissing(SchemaMissing):
    """There is no such table in the region."""

    def __init__(self, where: str, place: Place) -> None:
        ProjectError.__init__(
            self,
            f"{where} has no table {place.table} in {place.region}. Type: {PROGRAM} migrate, or mend DATABASE_URL",
        )


class TableUnknown(ProjectError):
    """The table is another program's."""

    def __init__(self, where: str, found: str) -> None:
        super().__init__(
            f"{where} is a table with the key {found}, not with the texts p and k: it belongs to another program. Set "
            f"DATABASE_URL to a name that is free, then type: {PROGRAM} migrate"
        )


class BucketMissing(SchemaMissing):
    """There is no such bucket."""

    def __init__(self, where: str, place: Place) -> None:
        ProjectError.__init__(
            self,
            f"{where} keeps large values in the bucket {place.bucket}, which is not there. Type: {PROGRAM} migrate, or "
            "mend bucket= in DATABASE_URL",
        )


class BucketRefused(ProjectError):
    """Somebody else's bucket, or one in another region."""

    def __init__(self, where: str, place: Place, reason: str) -> None:
        super().__init__(
            f"{where} keeps large values in the bucket {place.bucket}, which {reason}. Let the role "
            f"use the bucket, if there are threads already; or set bucket= in DATABASE_URL to a name that is free, and "
            f"type: {PROGRAM} migrate"
        )


class NameTooLong(ProjectError):
    """A thread's id or another name is longer than a key can be."""

    def __init__(self, where: str, name: str, most: int) -> None:
        super().__init__(
            f"{where} takes no key of {len(name.encode())} bytes, at most {most}: it begins with {name[:80]!r}. Choose "
            "a shorter id for the thread, or a shorter name for the channel or the node"
        )


class ObjectLost(ProjectError):
    """A value was deleted from the bucket by something other than this program."""

    def __init__(self, where: str, place: Place, name: str) -> None:
        super().__init__(
            f"{where} has a value in the bucket {place.bucket} under {name}, and it is gone. Remove rules of the bucket"
            " that delete objects, and restore it: an older version of the object, or a backup"
        )


class PrefixTaken(ProjectError):
    """Another project keeps its threads under the same prefix."""

    def __init__(self, where: str, prefix: str, owner: str) -> None:
        super().__init__(
            f"{where} has threads of the project {owner} under the prefix {prefix}: both would be mixed up. Add"
            f" &{PREFIX}=NAME to DATABASE_URL, or use another table"
        )


def code_of(error: Exception) -> str:
    """Return AWS's name for an error, or its class."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return type(error).__name__


def reasons_of(error: ClientError) -> list[str]:
    """Return why a transaction was cancelled, a name for each of its parts."""
    return [str(reason.get("Code")) for reason in error.response.get("CancellationReasons", [])]


def passes(error: Exception) -> bool:
    """Tell whether the same call may succeed later."""
    if not isinstance(error, ClientError):
        return isinstance(error, _LOST)
    if code_of(error) == CANCELLED:
        reasons = set(reasons_of(error))
        return FAILED not in reasons and bool(reasons & _PASSING)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return code_of(error) in _PASSING or status >= 500


def blips(error: Exception) -> bool:
    """Tell whether credentials that were there could not be renewed at this moment."""
    still_old = isinstance(error, RuntimeError) and "credentials" in str(error)  # botocore has no class for it
    return still_old or isinstance(error, CredentialRetrievalError)


def reason_of(error: Any) -> str:  # Any: boto3 has no types
    """Return what is wrong, in a line."""
    text = code_of(error) if isinstance(error, ClientError) else str(error) or type(error).__name__
    if code_of(error) == CANCELLED:
        text = ", ".join(sorted(set(reasons_of(error)) - {"None"}))
    line = text.splitlines()[0].rstrip(".")
    return f"it takes no more requests, it is throttled ({line})" if _THROTTLED.search(line) else line


def mended(error: Exception, where: str, place: Place) -> Exception:
    """Return the error that says what to do, or the same one if nobody can mend it.

    AWS's own texts are repeated only where they cannot hold a request's headers, and so its token.
    """
    code = code_of(error)
    found = error
    if isinstance(error, _NO_CREDENTIALS):
        found = CredentialsMissing(where, str(error).rstrip("."))
    elif isinstance(error, BotoCoreError) or passes(error):
        found = DatabaseUnreachable(where, reason_of(error))
    elif code in _BAD_CREDENTIALS or blips(error):
        found = CredentialsRefused(where, code)
    elif code in DENIED:
        found = ActionDenied(where, place, _action(error))
    elif code == "ResourceNotFoundException":
        found = TableMissing(where, place)
    elif code == "NoSuchBucket":
        found = BucketMissing(where, place)
    return found


def _action(error: Any) -> str:  # Any: boto3 has no types
    named = _ACTION.search(str(error.response.get("Error", {}).get("Message", "")))
    if named:
        return named[1]
    operation = str(error.operation_name)
    if operation.startswith("AssumeRole"):
        return f"sts:{operation}"
    return f"s3:{operation}" if operation in {"PutObject", "GetObject", "DeleteObjects"} else f"dynamodb:{operation}"
