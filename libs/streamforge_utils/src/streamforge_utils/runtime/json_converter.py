"""Converts messages that are JSON objects into documents, in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.json_documents import JsonDocuments, is_marker
from streamforge_utils.ports.bus import Received
from streamforge_utils.runtime.conversion import PASSED_OVER, Converted


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


class JsonConverter:
    """Implements `Converter`. replay: as `convert_json` takes it."""

    def __init__(self, documents: JsonDocuments, *, replay: bool) -> None:
        self._documents = documents
        self._replay = replay
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="convert")

    def convert(self, records: Sequence[Received]) -> asyncio.Future[Converted]:
        """A future with the documents of `records`."""
        return asyncio.get_running_loop().run_in_executor(self._thread, self._convert, records)

    def start_helper(self) -> None:
        """There is none: what limits it is the store."""

    def end_idle_helper(self) -> None:
        """There is none."""

    def close(self) -> None:
        """End the thread once it has done its work."""
        self._thread.shutdown(wait=False)

    def _convert(self, records: Sequence[Received]) -> Converted:
        return convert_json(self._documents, records, replay=self._replay)
