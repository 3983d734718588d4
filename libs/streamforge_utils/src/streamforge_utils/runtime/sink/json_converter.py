"""Converts messages that are JSON objects into documents."""

from __future__ import annotations

from collections.abc import Sequence

from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.json_documents import JsonDocuments, is_marker
from streamforge_utils.ports.bus import Received
from streamforge_utils.runtime.sink.conversion import PASSED_OVER, Converted


def convert_json(documents: JsonDocuments, received: Sequence[Received], *, replay: bool = False) -> Converted:
    """The documents of messages; markers are passed over. Blocks, for microseconds a message.

    replay: they are dead letters. When they were sent first is not known any more, so that none replaces what is there.
    """
    converted = Converted([], [], [], [])
    for at, message in enumerate(received):
        if is_marker(message.key, message.value):
            converted.refused.append((at, PASSED_OVER))
            continue
        try:
            key, version, body = documents.document(message.value, 0 if replay else max(0, message.timestamp_ms))
        except PermanentError as error:
            converted.refused.append((at, str(error)))
        else:
            converted.keys.append(key)
            converted.versions.append(version)
            converted.bodies.append(body)
    return converted
