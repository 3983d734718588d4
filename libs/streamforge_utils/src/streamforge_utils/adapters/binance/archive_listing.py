"""The listing of the archive, in the form of S3's `ListObjects`; and the names of its files.

Source: Amazon S3 API, ListObjects and ListObjectsV2; github.com/binance/binance-public-data, README.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from xml.etree import ElementTree

import msgspec

from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.kinds.archive_files import ArchiveFiles
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange, iso_ms, parse_time_range
from streamforge_utils.ports.archive import ArchiveFile

ROOT = "data/spot"
DAYS, MONTHS = "daily", "monthly"
CHECKSUM = ".CHECKSUM"
PAGE = 1000

_DATE_LENGTH = {DAYS: 10, MONTHS: 7}
_DATE = {DAYS: re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII), MONTHS: re.compile(r"\d{4}-\d{2}", re.ASCII)}


class Unlisted(Exception):
    """The answer is no listing; the message says why."""


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the listing. keys: each with its size and its version. more: parameters of the next page, if any."""

    keys: list[tuple[str, int, str]]
    prefixes: list[str]
    more: Mapping[str, str]


def read_listing(body: bytes) -> Listed:
    """Read a page. Raises Unlisted."""
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise Unlisted("it has a document type, which no listing has")
    try:
        root = ElementTree.fromstring(body)  # noqa: S314 - without a document type there are no entities
    except ElementTree.ParseError as error:
        raise Unlisted(f"it is no XML: {error}") from error
    if _local(root) != "ListBucketResult":
        raise Unlisted(f"it is <{_local(root)[:80]}>, not <ListBucketResult>")
    keys, prefixes, fields = list[tuple[str, int, str]](), list[str](), dict[str, str]()
    for element in root:
        match _local(element):
            case "Contents":
                keys.append(_content({_local(child): child.text or "" for child in element}))
            case "CommonPrefixes":
                prefixes += [child.text or "" for child in element]
            case name:
                fields[name] = element.text or ""
    more: dict[str, str] = {}
    if fields.get("IsTruncated") == "true":
        if token := fields.get("NextContinuationToken"):
            more = {"continuation-token": token}
        elif marker := fields.get("NextMarker") or max([*(key for key, _, _ in keys), *prefixes], default=""):
            more = {"marker": marker}
        else:
            raise Unlisted("it is cut short and does not say where it goes on")
    return Listed(keys=keys, prefixes=prefixes, more=more)


def _local(element: ElementTree.Element) -> str:
    """The name without its namespace."""
    return element.tag.rpartition("}")[2]


def _content(fields: Mapping[str, str]) -> tuple[str, int, str]:
    try:
        modified = datetime.fromisoformat(fields["LastModified"].replace("Z", "+00:00"))
        published = f"{iso_ms(round(modified.timestamp() * 1000))} {fields.get('ETag', '').strip(chr(34))}"
        return fields["Key"], int(fields["Size"]), published.strip()
    except (KeyError, ValueError) as error:
        raise Unlisted(f"one of its files has no {error}") from error


def published_ms(published: str) -> int:
    """The time in a version, unix milliseconds; 0 where there is none."""
    try:
        return round(datetime.fromisoformat(published.partition(" ")[0].replace("Z", "+00:00")).timestamp() * 1000)
    except ValueError:
        return 0


def entity_tag(published: str) -> str:
    """The entity tag in a version; empty where there is none."""
    return published.partition(" ")[2]


def stem_path(files: ArchiveFiles, series: Series, period: str) -> str:
    """What the paths of all files of days, or of months, of a series begin with."""
    return f"{ROOT}/{period}/{files.folder}/{files.place(series)}/{files.stem(series)}-"


def narrow(path: str, period: str, span: TimeRange) -> tuple[str, str]:
    """What to list for the files that have a part of `span`: their common prefix, and a key before the first one."""
    length = _DATE_LENGTH[period]
    first, last = (iso_ms(time_ms)[:length] for time_ms in (span.start_ms, span.end_ms - 1))
    common = next((at for at, (one, other) in enumerate(zip(first, last, strict=True)) if one != other), length)
    return path + first[:common], path + first


def files_of(keys: Iterable[tuple[str, int, str]], path: str, period: str, span: TimeRange) -> list[ArchiveFile]:
    """The zips of days, or of months, that have a part of `span`."""
    found = []
    for key, size, published in keys:
        date = key.removeprefix(path).removesuffix(".zip")
        if key != f"{path}{date}.zip" or not _DATE[period].fullmatch(date):
            continue
        try:
            of = parse_time_range(date)
        except InvalidInput:
            continue
        if of.intersection(span) is not None:
            found.append(ArchiveFile(path=key, span=of, size=size, published=published))
    return found
