"""Why a part of a plan is loaded from the source that it has: words for programs, which stay."""

from __future__ import annotations

from enum import StrEnum


class PartCode(StrEnum):
    """A code is never given another meaning, nor taken away; a newer version may know more."""

    ASKED_AGAIN = "asked-again"
    FILES_SAVE_REQUESTS = "files-save-requests"
    ONLY_FILES = "only-files"
    FEW_REQUESTS = "few-requests"
    REQUESTS_ALONE = "requests-alone"
    NO_FILE = "no-file"
    DAY_NOT_OVER = "day-not-over"
    ARCHIVE_FAILED = "archive-failed"
    TOO_MANY_PARTS = "too-many-parts"
    FILE_FAILED = "file-failed"
    LEFT_BY_REQUESTS = "left-by-requests"
    STREAM_BEGINS = "stream-begins"


MEANINGS: dict[PartCode, str] = {
    PartCode.ASKED_AGAIN: "what is stored of it was asked for again, too",
    PartCode.FILES_SAVE_REQUESTS: "files give it instead of many requests",
    PartCode.ONLY_FILES: "requests do not give it, files do",
    PartCode.FEW_REQUESTS: "a few requests give it, so that no file is worth its download",
    PartCode.REQUESTS_ALONE: "no archive is asked",
    PartCode.NO_FILE: "the archive has no file of it",
    PartCode.DAY_NOT_OVER: "its day is not over, so that the archive has no file of it yet",
    PartCode.ARCHIVE_FAILED: "the archive does not answer, or failed before",
    PartCode.TOO_MANY_PARTS: "the range is in too many parts for files",
    PartCode.FILE_FAILED: "its file could not be loaded",
    PartCode.LEFT_BY_REQUESTS: "requests gave none of it, and a file may have it",
    PartCode.STREAM_BEGINS: "the stream goes on from here",
}
