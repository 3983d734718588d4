"""The listing of the archive, as S3 answers it: ListObjects and ListObjectsV2, pages of at most 1000 keys."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from urllib.parse import quote
from xml.sax.saxutils import escape

import msgspec

from streamforge.exchange.published_files import Entry, ListingScope

MAX_KEYS = 1_000
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_BUCKET = "data.binance.vision"
PARAMETERS = frozenset(
    ("list-type", "prefix", "delimiter", "marker", "max-keys", "start-after", "continuation-token", "encoding-type")
)
"""What a request for a listing may name; without any of them it is none."""


class ListingError(Exception):
    """A refusal of S3. code: as its XML names it."""

    def __init__(self, code: str, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.code, self.status = code, status

    @property
    def body(self) -> bytes:
        return error_xml(self.code, str(self))


class ListingRequest(msgspec.Struct, frozen=True):
    """A request for a page. second: by ListObjectsV2. token, marker: as sent. limit: of files and folders."""

    asked: ListingScope
    second: bool
    marker: str
    token: str
    limit: int
    encoded: bool


def read_listing_request(query: Mapping[str, str]) -> ListingRequest:
    """Raises ListingError."""
    second = query.get("list-type") == "2"
    delimiter, limit = query.get("delimiter", ""), query.get("max-keys", str(MAX_KEYS))
    if delimiter not in ("", "/"):
        raise ListingError("NotImplemented", "The only delimiter is /.", 501)
    if not (limit.isascii() and limit.isdigit() and len(limit) < 10):
        raise ListingError("InvalidArgument", "Provided max-keys not an integer or within integer range")
    token = query.get("continuation-token", "")
    marker = query.get("start-after" if second else "marker", "")
    try:
        after = base64.b64decode(token, b"-_", validate=True).decode() if second and token else marker
    except ValueError as error:
        raise ListingError("InvalidArgument", "The continuation token provided is incorrect") from error
    asked = ListingScope(query.get("prefix", ""), after, delimiter == "/")
    encoded = query.get("encoding-type") == "url"
    return ListingRequest(asked, second, marker, token, min(int(limit), MAX_KEYS), encoded)


def site_page(body: bytes, url: str) -> bytes:
    """A page that also names, as Binance's site does where clients look for it, the address of the listing."""
    return body + f"<!-- var BUCKET_URL = '{url}/{_BUCKET}'; -->".encode()


def listing_xml(request: ListingRequest, listing: Iterator[Entry | str], *, endless: bool = False) -> bytes:
    """The page that answers `request`. listing: what comes from there on. endless: the next page is this one."""
    found = list(islice(listing, request.limit))
    more = endless or (bool(found) and any(True for _ in listing))
    text: Callable[[str], str] = _encoded if request.encoded else escape
    last = request.asked.after if endless else "" if not more else _key(found[-1])
    head = [("Name", _BUCKET), ("Prefix", text(request.asked.prefix))]
    if request.second:
        head += [("KeyCount", str(len(found)))]
        head += [("StartAfter", text(request.marker))] if request.marker else []
        head += [("ContinuationToken", escape(request.token))] if request.token else []
        head += [("NextContinuationToken", base64.urlsafe_b64encode(last.encode()).decode())] if more else []
    else:
        head += [("Marker", text(request.marker))]
        head += [("NextMarker", text(last))] if more and request.asked.grouped else []
    head += [("MaxKeys", str(request.limit))]
    head += [("Delimiter", "/")] if request.asked.grouped else []
    head += [("EncodingType", "url")] if request.encoded else []
    head += [("IsTruncated", "true" if more else "false")]
    parts = [f"<{name}>{value}</{name}>" for name, value in head]
    parts += [_contents(one, text) for one in found if isinstance(one, Entry)]
    parts += [f"<CommonPrefixes><Prefix>{text(one)}</Prefix></CommonPrefixes>" for one in found if isinstance(one, str)]
    return f'{_HEAD}<ListBucketResult xmlns="{_NAMESPACE}">{"".join(parts)}</ListBucketResult>'.encode()


def error_xml(code: str, text: str, key: str = "") -> bytes:
    """The body of a refusal."""
    named = f"<Key>{escape(key)}</Key>" if key else ""
    return f"{_HEAD}<Error><Code>{code}</Code><Message>{escape(text)}</Message>{named}</Error>".encode()


def _contents(one: Entry, text: Callable[[str], str]) -> str:
    moment = datetime.fromtimestamp(one.modified_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return (
        f"<Contents><Key>{text(one.key)}</Key><LastModified>{moment}</LastModified><ETag>&quot;{one.etag}&quot;</ETag>"
        f"<Size>{one.size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )


def _key(one: Entry | str) -> str:
    return one if isinstance(one, str) else one.key


def _encoded(text: str) -> str:
    return quote(text, safe="/")
