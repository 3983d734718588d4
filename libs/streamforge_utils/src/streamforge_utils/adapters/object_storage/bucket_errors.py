"""What an S3 server refuses, in our errors, which never repeat its words: it may answer with what was signed."""

from __future__ import annotations

import re

from obstore.exceptions import BaseError

from streamforge_utils.model.errors import PermanentError, RetryableError, StreamForgeError

ERRORS = (BaseError, OSError, ValueError, NotImplementedError)
"""What obstore raises: FileNotFoundError for what is not there."""

_CODE = re.compile(r"<Code>([A-Za-z0-9.]{1,60})</Code>")
_CONTENT = re.compile(r"404 Not Found: ?(.*?)(?:\n\nDebug source:|$)", re.DOTALL)
"""What came with a 404."""
_STATUS = re.compile(r"status code: (\d{3})")

_KEYS = "STREAMFORGE_S3_ACCESS_KEY and STREAMFORGE_S3_SECRET_KEY"
_RIGHTS = f"check {_KEYS}, and the rights of that key: it lists, reads, writes and deletes objects of the bucket"
_ADDRESS = "check STREAMFORGE_S3_ENDPOINT, STREAMFORGE_S3_REGION and STREAMFORGE_S3_PATH_STYLE"
_ROOM = "no room is left: make room on the server, or raise its quota"
_REACH = "is the server up, the address in STREAMFORGE_S3_ENDPOINT right, and the way there free?"

_PERMANENT = {
    "NoSuchBucket": "the bucket does not exist: make it, or correct STREAMFORGE_OBJECTS_URL",
    "InvalidBucketName": "the bucket has a name that the server refuses: correct STREAMFORGE_OBJECTS_URL",
    "RequestTimeTooSkewed": "the clocks of server and machine differ: set this machine's clock",
    "AuthorizationHeaderMalformed": f"the server expects another region: {_ADDRESS}",
    "PermanentRedirect": f"the bucket is served elsewhere: {_ADDRESS}",
    "EntityTooLarge": "it is larger than the server takes: store it in parts",
    "KeyTooLongError": "its name is longer than the server takes: choose a shorter one",
}
_FULL = {"QuotaExceeded", "XMinioStorageFull", "XMinioStorageQuotaExceeded", "InsufficientStorage", "NoSpaceLeft"}
_NO_SUCH_KEY = {"InvalidAccessKeyId", "XAdminUserNotFound"}
"""A key that the server does not have; some answer 404."""
_NETWORK = {
    "certificate": "the server's certificate is not trusted: name its CA in STREAMFORGE_S3_CA_PATH",
    "redirect": f"the bucket is served elsewhere: {_ADDRESS}",
}
_SILENT = {
    "connection refused": "it takes no connection",
    "dns error": "its name is not known",
    "failed to lookup": "its name is not known",
    "timed out": "it did not answer in time",
    "connection reset": "it broke off the connection",
    "connection closed": "it broke off the connection",
    "incomplete": "it broke off the connection",
}


def is_missing_object(error: Exception) -> bool:
    """Whether an object is missing; an answer without content does not tell it from a missing bucket.

    What else answers 404 is no S3 server, such as a proxy whose server is gone, or speaks of something else.
    """
    if not isinstance(error, FileNotFoundError):
        return False
    code, content = _CODE.search(str(error)), _CONTENT.search(str(error))
    return code[1] == "NoSuchKey" if code else content is None or not content[1].strip()


def problem_of(error: Exception, what: str) -> StreamForgeError:
    """Our error for one of obstore. what: the object, and where."""
    text = str(error)
    code, status = _CODE.search(text), _STATUS.search(text)
    named = code[1] if code else ""
    number = int(status[1]) if status else 0
    if named in _PERMANENT:
        return PermanentError(f"{what}: {_PERMANENT[named]}")
    if named in _FULL or number == 507:
        return RetryableError(f"{what}: {_ROOM}")
    if (
        named in _NO_SUCH_KEY
        or number in (401, 403)
        or type(error).__name__ in ("PermissionDeniedError", "UnauthenticatedError")
    ):
        return PermanentError(f"{what}: access is refused{f' ({named})' if named else ''}: {_RIGHTS}")
    lower = text.lower()
    for sign, said in _NETWORK.items():
        if sign in lower:
            return PermanentError(f"{what}: {said}")
    if number:
        shown = f"{number} {named}".strip()
        if number == 404:
            return RetryableError(f"{what}: the server answered {shown}: try again, and {_ADDRESS}")
        if number < 500 and number not in (408, 409, 429):
            return PermanentError(f"{what}: the server refuses it ({shown}): {_ADDRESS}")
        return RetryableError(f"{what}: the server answered {shown}: try again, and see its log")
    reason = next((said for sign, said in _SILENT.items() if sign in lower), "it gave no usable answer")
    return RetryableError(f"{what}: {reason}: {_REACH}")
