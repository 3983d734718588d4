"""Consumer groups of one topic: members and committed offsets, in a small file of their own.

The log's file has one writer at a time; commits would wait behind bulk writers there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.adapters.embedded.bus.liveness import is_alive
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

    def committed(self, group: str) -> dict[int, int]:
        """The committed offsets by partition."""
        with sqlite.translated(self._path, "read the offsets in"):
            rows = self._connection.execute("SELECT partition, offset FROM offsets WHERE grp = ?", (group,))
            return dict(rows.fetchall())

    def highest(self) -> dict[int, int]:
        """The highest offset that any group has committed, by partition."""
        with sqlite.translated(self._path, "read the offsets in"):
            rows = self._connection.execute("SELECT partition, max(offset) FROM offsets GROUP BY partition")
            return dict(rows.fetchall())

    def slowest(self, readers: Sequence[str], partitions: int) -> dict[int, int]:
        """For each partition the offset below which every one of `readers` has committed."""
        offsets = [self.committed(group) for group in readers]
        return {number: min(of.get(number, 0) for of in offsets) for number in range(partitions)}

    def join(self, group: str, member: str, initial: Mapping[int, int]) -> None:
        """Add a member, and offsets where the group has none yet: later members begin there too."""
        with sqlite.transaction(self._connection, self._path):
            self._connection.execute("INSERT OR IGNORE INTO members (grp, member) VALUES (?, ?)", (group, member))
            self._connection.executemany(
                "INSERT OR IGNORE INTO offsets VALUES (?, ?, ?)",
                [(group, partition, offset) for partition, offset in initial.items()],
            )
        notify(self._path.parent)

    def leave(self, group: str, members: Sequence[str]) -> None:
        """Remove members."""
        with sqlite.transaction(self._connection, self._path):
            self._connection.executemany(
                "DELETE FROM members WHERE grp = ? AND member = ?", [(group, member) for member in members]
            )
        notify(self._path.parent)

    def members(self, group: str) -> list[str]:
        """The members in the order in which they joined."""
        with sqlite.translated(self._path, "read the members in"):
            rows = self._connection.execute("SELECT member FROM members WHERE grp = ? ORDER BY joined", (group,))
            return [row[0] for row in rows]

    def expel_dead(self, group: str, members: Sequence[str], directory: Path) -> bool:
        """Remove those of `members` whose process is gone; whether there was any."""
        dead = [member for member in members if not is_alive(directory, member)]
        if dead:
            self.leave(group, dead)
        return bool(dead)

    def commit(
        self, group: str, member: str, offsets: Mapping[int, int], *, lost: Collection[int] = ()
    ) -> Collection[int]:
        """Store `offsets` durably, see `Consumer.commit`; returns the partitions of which one was stored.

        lost: partitions that were taken away from the member since they were read, whosever they are now.
        Raises RetryableError.
        """
        with sqlite.transaction(self._connection, self._path, "commit to"):
            members = self.members(group)
            foreign = {partition for partition in offsets if owner(members, partition) != member}
            doubtful = foreign.union(lost)
            passed = self.committed(group) if doubtful else {}
            needed = {
                partition: offset
                for partition, offset in offsets.items()
                if partition not in doubtful or passed.get(partition, -1) < offset
            }
            for partition in foreign.intersection(needed):
                raise RetryableError(
                    f"group {group}: partition {partition} now belongs to another member; "
                    "what was read of it is read again there"
                )
            self._connection.executemany(
                "INSERT INTO offsets VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET offset = excluded.offset",
                [(group, partition, offset) for partition, offset in needed.items()],
            )
        return needed.keys()

    def disband(self) -> None:
        """Remove everything: the topic is deleted."""
        with sqlite.transaction(self._connection, self._path):
            self._connection.execute("DELETE FROM members")
            self._connection.execute("DELETE FROM offsets")


def owner(members: Sequence[str], partition: int) -> str | None:
    """Whose a partition is; a later member never takes the only partition from an earlier one."""
    return members[partition % len(members)] if members else None
