"""The archive: files of past days and months that the exchange publishes. Times are unix milliseconds, UTC."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.paging import Page
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange


class ArchiveFile(msgspec.Struct, frozen=True, kw_only=True):
    """A published file. path: inside the archive. span: the day or month that it is of. size: bytes, compressed.

    published: the version, as the listing names it (time and entity tag); a file that was replaced has another.
    """

    path: str
    span: TimeRange
    size: int
    published: str = ""


class FileRefused(PermanentError):
    """The content of a file cannot be trusted, or is gone; the message says why. Other files are not affected."""


class FileDiffers(FileRefused):
    """The exchange has other records than the file, whose checksum is right."""


class Place(StrEnum):
    """Which records of a file are compared with the exchange's: the first ones, the last ones, or drawn ones."""

    FIRST = "first"
    LAST = "last"
    INSIDE = "inside"


class VerifiedFile(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a file before its first record is given.

    disputed: why the published checksum was not met though all other checks held; empty: the checksum held.
    cached: it was not downloaded for this.
    """

    file: ArchiveFile
    sha256: str
    disputed: str = ""
    cached: bool = False


class Archive(Protocol):
    """Files of past days and months. Every call spends its own retries before it raises.

    Raises RetryableError (retries are spent, the disk is full) or PermanentError (the kind is not in the archive).
    """

    async def files(self, series: Series, span: TimeRange) -> Sequence[ArchiveFile]:
        """The published files, of days and of months, that have a part of `span`; sorted by span, months first."""

    async def symbols(self, kind: str) -> Sequence[str]:
        """All symbols of which there are files of a kind, sorted; those that are no longer traded included."""

    async def verify(self, series: Series, file: ArchiveFile) -> VerifiedFile:
        """Download the file, unless it is cached, and check it whole. Raises FileRefused."""

    def records(self, series: Series, file: VerifiedFile) -> AsyncGenerator[Page, None]:
        """The records of a verified file in the order of the series, a block at a time; times are milliseconds.

        Raises FileRefused also after some records: what was given before is right by itself.
        """

    async def compare(self, series: Series, file: VerifiedFile, places: Collection[Place]) -> str:
        """Compare some records of a verified file with the exchange's; a request for each place, or for two that meet.

        Returns why not; empty: they were, and are the same. Raises FileDiffers naming the first difference, and
        FileRefused.
        """

    async def close(self) -> None:
        """Close the connections."""
