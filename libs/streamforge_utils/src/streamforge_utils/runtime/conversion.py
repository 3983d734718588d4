"""Records become documents: decoded, checked and encoded again, many at once."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.kind import RecordKind

PART_RECORDS = 500
"""Records that are converted together: they fit into a processor's cache, and one bad one costs little."""


class Converted(msgspec.Struct, frozen=True, array_like=True):
    """What became of records: the documents of the good ones in columns, and the bad ones.

    refused: where each bad one was among the records, and the reason.
    """

    keys: list[str]
    versions: list[int]
    bodies: list[bytes]
    refused: list[tuple[int, str]]

    def add(self, part: Converted, first: int) -> None:
        """Add what became of the records from `first` on."""
        self.keys.extend(part.keys)
        self.versions.extend(part.versions)
        self.bodies.extend(part.bodies)
        self.refused.extend((first + at, reason) for at, reason in part.refused)

    def good(self, count: int) -> Sequence[int]:
        """Where the good ones were among the `count` records."""
        bad = {at for at, _ in self.refused}
        return [at for at in range(count) if at not in bad] if bad else range(count)


def convert(kind: RecordKind, keys: Sequence[bytes | None], values: Sequence[bytes]) -> Converted:
    """The documents of messages with these keys and values. Blocks, for microseconds a record."""
    converted = Converted([], [], [], [])
    for part in parts_of(len(values)):
        converted.add(convert_part(kind, keys[part], values[part]), part.start)
    return converted


def parts_of(count: int) -> list[slice]:
    """`count` records in parts of which each is converted at once."""
    return [slice(first, min(first + PART_RECORDS, count)) for first in range(0, count, PART_RECORDS)]


def convert_part(kind: RecordKind, keys: Sequence[bytes | None], values: Sequence[bytes]) -> Converted:
    """Convert a few records: all at once, or each alone if one of them is bad."""
    columns = kind.documents(keys, values)
    if columns is not None:
        return Converted(*columns, [])
    converted = Converted([], [], [], [])
    for at, (message_key, value) in enumerate(zip(keys, values, strict=True)):
        try:
            key, version, body = kind.document(message_key, value)
        except PermanentError as error:
            converted.refused.append((at, str(error)))
        else:
            converted.keys.append(key)
            converted.versions.append(version)
            converted.bodies.append(body)
    return converted
