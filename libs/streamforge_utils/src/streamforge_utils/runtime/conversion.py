"""Records become documents: decoded, checked and encoded again, many at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from streamforge_utils.model.errors import PermanentError

PART_RECORDS = 500
"""Records that are converted together: they fit into a processor's cache, and one bad one costs little."""

One = Callable[[bytes | None, bytes], tuple[str, int, bytes]]
Many = Callable[[Sequence[bytes | None], Sequence[bytes]], tuple[list[str], list[int], list[bytes]] | None]


class Conversion(msgspec.Struct, frozen=True):
    """How records become documents, by functions of a module.

    one: from a message's key and value to a document's key, version and body; raises PermanentError with the reason.
    many: the same for many at once, in columns; None if one of them may have to be refused.
    """

    one: One
    many: Many


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


def convert(conversion: Conversion, keys: Sequence[bytes | None], values: Sequence[bytes]) -> Converted:
    """Convert the records of these message keys and values. Blocks, for microseconds a record."""
    converted = Converted([], [], [], [])
    for part in parts_of(len(values)):
        converted.add(convert_part(conversion, keys[part], values[part]), part.start)
    return converted


def parts_of(count: int) -> list[slice]:
    """`count` records in parts of which each is converted at once."""
    return [slice(first, min(first + PART_RECORDS, count)) for first in range(0, count, PART_RECORDS)]


def convert_part(conversion: Conversion, keys: Sequence[bytes | None], values: Sequence[bytes]) -> Converted:
    """Convert a few records: all at once, or each alone if one of them is bad."""
    columns = conversion.many(keys, values)
    if columns is not None:
        return Converted(*columns, [])
    converted = Converted([], [], [], [])
    for at, (message_key, value) in enumerate(zip(keys, values, strict=True)):
        try:
            key, version, body = conversion.one(message_key, value)
        except PermanentError as error:
            converted.refused.append((at, str(error)))
        else:
            converted.keys.append(key)
            converted.versions.append(version)
            converted.bodies.append(body)
    return converted
