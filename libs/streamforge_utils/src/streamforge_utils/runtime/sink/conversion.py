"""Turns messages into documents: decodes and checks them, many at once. A sink does this in a thread of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.ports.columns import DocumentColumns, RecordColumns
from streamforge_utils.ports.store import Document

PART_RECORDS = 500
"""Records that are converted together: they fit into a processor's cache, and one bad record slows few others."""


PASSED_OVER = ""
"""The reason of a message that is no record, and nothing to be refused either: an end-of-stream marker."""


class Converted(msgspec.Struct, frozen=True):
    """The documents of the good records, and the bad records.

    refused: the place of each bad record among all, and the reason, which may be `PASSED_OVER`.
    """

    documents: DocumentColumns
    refused: list[tuple[int, str]]

    def good(self, count: int) -> Sequence[int]:
        """The places of the good records among all `count`."""
        bad = {at for at, _ in self.refused}
        return [at for at in range(count) if at not in bad] if bad else range(count)


NOTHING = Converted(DocumentColumns([], [], []), [])


def convert(kind: RecordKind, keys: Sequence[bytes | None], values: Sequence[bytes]) -> Converted:
    """The documents of messages with these keys and values. Blocks, for a microsecond a record."""
    records, refused = list[Any](), list[tuple[int, str]]()
    for first in range(0, len(values), PART_RECORDS):
        part = slice(first, first + PART_RECORDS)
        found = kind.records(keys[part], values[part])
        if found is None:
            for at, (key, value) in enumerate(zip(keys[part], values[part], strict=True), first):
                try:
                    document = Document(*kind.document(key, value))
                except PermanentError as error:
                    refused.append((at, str(error)))
                    continue
                record = kind.record_in(document.key, document.version, document.body)
                records.append(document if record is None else record)
        else:
            records += found
    if any(isinstance(one, Document) for one in records):  # of a plugin that makes its documents by itself
        return Converted(DocumentColumns.of([_as_document(kind, one) for one in records]), refused)
    return Converted(RecordColumns(kind, records), refused)


def _as_document(kind: RecordKind, one: Any) -> Document:
    return one if isinstance(one, Document) else Document(one.key, one.version, kind.bodies([one])[0])


def joined(parts: Sequence[tuple[int, Converted]]) -> Converted:
    """What parts of the messages give together, each with the place of its first message; in their order."""
    documents = [one for _, part in parts for one in part.documents]
    refused = [(first + at, reason) for first, part in parts for at, reason in part.refused]
    return Converted(DocumentColumns.of(documents), refused)
