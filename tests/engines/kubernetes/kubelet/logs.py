"""What a container printed: one file per run, each line with its time, as on a real node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

_TAIL_LINES = 80
_TAIL_BYTES = 2048


class LogFile:
    """Takes bytes as they come and writes lines with their time. To be closed."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = path.open("ab")
        self._rest = b""

    def write(self, data: bytes) -> None:
        """More of what was printed."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._put(lines)

    def close(self) -> None:
        """No more comes; a last line without an end counts."""
        if self._rest:
            self._put([self._rest])
            self._rest = b""
        self._file.close()

    def _put(self, lines: list[bytes]) -> None:
        stamp = now().encode()
        self._file.write(b"".join(stamp + b" " + line + b"\n" for line in lines))
        self._file.flush()


@dataclass(frozen=True)
class Wanted:
    """Which lines. since: not before; tail: the last so many; stamps: with their time; limit: so many bytes."""

    since: datetime | None = None
    tail: int | None = None
    stamps: bool = False
    limit: int | None = None

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Wanted:
        """From the query of a request. Raises ValueError."""
        since = None
        if "sinceSeconds" in query:
            since = datetime.now(UTC) - timedelta(seconds=int(query["sinceSeconds"]))
        elif "sinceTime" in query:
            since = datetime.fromisoformat(query["sinceTime"])
        tail, limit = query.get("tailLines"), query.get("limitBytes")
        return cls(
            since,
            None if tail is None else int(tail),
            query.get("timestamps") == "true",
            None if limit is None else int(limit),
        )

    def of_lines(self, lines: Iterable[bytes]) -> bytes:
        """What is wanted of a file's lines."""
        found = [line for line in lines if self.since is None or _time(line) >= self.since]
        if self.tail is not None:
            found = found[-self.tail :] if self.tail else []
        text = b"".join(line if self.stamps else line.partition(b" ")[2] for line in found)
        return text if self.limit is None else text[: self.limit]


def last_words(path: Path) -> str:
    """The end of a log as a termination message: at most 80 lines and 2048 bytes."""
    try:
        with path.open("rb") as file:
            lines = file.readlines()
    except OSError:
        return ""
    return Wanted(tail=_TAIL_LINES).of_lines(lines)[-_TAIL_BYTES:].decode(errors="replace")


def now() -> str:
    """This moment as a log line begins, in UTC with microseconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _time(line: bytes) -> datetime:
    return datetime.fromisoformat(line.partition(b" ")[0].decode())
