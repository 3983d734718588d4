"""Converts messages that are JSON objects into documents."""

from __future__ import annotations

from collections.abc import Sequence

from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.json_documents import JsonDocuments, is_marker
from streamforge_utils.ports.bus import Received
from streamforge_utils.ports.columns import DocumentColumns
from streamforge_utils.ports.store import Document
from streamforge_utils.runtime.sink.conversion import PASSED_OVER, Converted


def convert_json(documents: JsonDocuments, received: Sequence[Received], *, replay: bool = False) -> Converted:
    """The documents of messages; markers are passed over. Blocks, for microseconds a message.

    replay: they are dead letters. When they were sent first is not known any more, so that none replaces what is there.
    """
    found, refused = list[Document](), list[tuple[int, str]]()
    for at, message in enumerate(received):
        if is_marker(message.key, message.value):
            refused.append((at, PASSED_OVER))
            continue
        try:
            found.append(Document(*documents.document(message.value, 0 if replay else max(0, message.timestamp_ms))))
        except PermanentError as error:
            refused.append((at, str(error)))
    return Converted(DocumentColumns.of(found), refused)
