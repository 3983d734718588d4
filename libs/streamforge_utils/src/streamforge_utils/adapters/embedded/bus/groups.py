"""Consumer groups of one topic: members and committed offsets, in a small file of their own.

The log's file has one writer at a time; commits would wait behind bulk writers there. A member is there while it holds
a lock on a file of its own, which the kernel releases when its process ends.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.adapters.embedded.bus.notification import notify
from streamforge_utils.model.errors import RetryableError

_FORMAT = sqlite.Format(
    "file of consumer groups",
    (
        (
            """CREATE TABLE offsets (
            grp TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL, PRIMARY KEY (grp, partition)
        ) WITHOUT ROWID""",
            "CREATE TABLE members (joined INTEGER PRIMARY KEY AUTOINCREMENT, grp TEXT NOT NULL, member TEXT NOT NULL)",
            "CREATE UNIQUE INDEX members_place ON members (grp, member)",
        ),
    ),
)


class Groups:
    """The open groups of a topic. Every method blocks; one thread at a time."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._connection = connection

    @classmethod
    def create(cls, path: Path) -> None:
        """Make the file of a new topic; nobody else may know `path` yet, and `sqlite.settle` makes it durable."""
        sqlite.connect(path, _FORMAT, synchronous="OFF").close()

    @classmethod
    def open(cls, path: Path, *, create: bool = False) -> Groups:
        """Open the file. Raises FileNotFoundError, ConfigError or RetryableError."""
        return cls(path, sqlite.connect(path, _FORMAT, create=create))

    def close(self) -> None:
        self._connection.close()

    @property
    def version(self) -> int:
        """Differs from the value before if another connection has written; costs microseconds."""
        return sqlite.data_version(self._connection, self._path)

    def committed(self, group: str) -> int | None:
        """The committed offset."""
        with sqlite.translated(self._path, "read the offsets in"):
            row = self._connection.execute("SELECT offset FROM offsets WHERE grp = ?", (group,)).fetchone()
        return None if row is None else int(row[0])

    def highest(self) -> int:
        """The highest offset that any group has committed."""
        with sqlite.translated(self._path, "read the offsets in"):
            return int(self._connection.execute("SELECT coalesce(max(offset), 0) FROM offsets").fetchone()[0])

    def slowest(self, readers: Sequence[str]) -> int:
        """The offset below which every one of `readers` has committed."""
        return min((self.committed(group) or 0 for group in readers), default=0)

    def join(self, group: str, member: str) -> None:
        """Add a member."""
        with sqlite.transaction(self._connection, self._path):
            self._connection.execute("INSERT OR IGNORE INTO members (grp, member) VALUES (?, ?)", (group, member))
        notify(self._path.parent)

    def leave(self, group: str, members: Sequence[str]) -> None:
        """Remove members."""
        with sqlite.transaction(self._connection, self._path):
            self._connection.executemany(
                "DELETE FROM members WHERE grp = ? AND member = ?", [(group, member) for member in members]
            )
        notify(self._path.parent)

    def members(self, group: str) -> list[str]:
        """The members in the order in which they joined; the first one reads."""
        with sqlite.translated(self._path, "read the members in"):
            rows = self._connection.execute("SELECT member FROM members WHERE grp = ? ORDER BY joined", (group,))
            return [row[0] for row in rows]

    def expel_dead(self, group: str, members: Sequence[str], directory: Path) -> bool:
        """Remove those of `members` whose process is gone; whether there was any."""
        dead = [member for member in members if not is_alive(directory, member)]
        if dead:
            self.leave(group, dead)
        return bool(dead)

    def commit(self, group: str, member: str, offset: int, *, lost: bool = False) -> bool:
        """Store the offset durably, see `Consumer.commit`; whether it was stored.

        lost: the partition was taken away from the member since it was read, whosever it is now.
        Raises RetryableError.
        """
        with sqlite.transaction(self._connection, self._path, "commit to"):
            members = self.members(group)
            foreign = not members or members[0] != member
            if foreign or lost:
                passed = self.committed(group)
                if passed is not None and offset <= passed:
                    return False
            if foreign:
                raise RetryableError(
                    f"group {group}: partition 0 now belongs to another member; what was read of it is read again there"
                )
            self._connection.execute(
                "INSERT INTO offsets VALUES (?, 0, ?) ON CONFLICT DO UPDATE SET offset = excluded.offset",
                (group, offset),
            )
        return True

    def disband(self) -> None:
        """Remove everything: the topic is deleted."""
        with sqlite.transaction(self._connection, self._path):
            self._connection.execute("DELETE FROM members")
            self._connection.execute("DELETE FROM offsets")


class MemberLock:
    """Held until it is closed or its process ends. `name` names it among all processes."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.name = f"{os.getpid()}-{secrets.token_hex(8)}"
        self._path = directory / self.name
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def close(self) -> None:
        if self._descriptor >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1


def is_alive(directory: Path, name: str) -> bool:
    """Whether the process that holds the lock `name` still runs; what is left of a dead one is removed."""
    path = directory / name
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        path.unlink(missing_ok=True)
        return False
    finally:
        os.close(descriptor)
