"""Turns records into documents: decodes, checks and encodes them again, many at once.

The sink does this in a thread of its own, or in a helper process, which runs this module; the `Offloader` in `sinks.py`
decides which. The helper holds nothing that could be lost, so it is ended by killing it. Its standard input is a
socket, which closes when the sink ends in any way; then the helper ends too. It sends one byte once it is ready; then
requests and answers take turns.
"""

from __future__ import annotations

import gc
import mmap
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.kinds.registry import kind_named
from streamforge_utils.plugins import PLUGINS, load_plugins
from streamforge_utils.ports.bus import Received
from streamforge_utils.ports.columns import columns_of

PART_RECORDS = 500
"""Records that are converted together: they fit into a processor's cache, and one bad record slows few others."""


PASSED_OVER = ""
"""The reason of a message that is no record, and nothing to be refused either: an end-of-stream marker."""


class Converted(msgspec.Struct, array_like=True):
    """The documents of the good records, in columns, and the bad records.

    refused: the place of each bad record among all, and the reason, which may be `PASSED_OVER`.
    encoded: as `DocumentColumns` has it.
    """

    keys: list[str]
    versions: list[int]
    bodies: list[bytes]
    refused: list[tuple[int, str]]
    encoded: bool = False

    def add(self, part: Converted, first: int) -> None:
        """Add the result of a part of the records, which begins at the place `first`."""
        self.keys.extend(part.keys)
        self.versions.extend(part.versions)
        self.bodies.extend(part.bodies)
        self.refused.extend((first + at, reason) for at, reason in part.refused)
        self.encoded = self.encoded and part.encoded

    def good(self, count: int) -> Sequence[int]:
        """The places of the good records among all `count`."""
        bad = {at for at, _ in self.refused}
        return [at for at in range(count) if at not in bad] if bad else range(count)


def convert(kind: RecordKind, keys: Sequence[bytes | None], values: Sequence[bytes]) -> Converted:
    """The documents of messages with these keys and values. Blocks, for microseconds a record."""
    converted = Converted([], [], [], [], encoded=True)
    for part in parts_of(len(values)):
        converted.add(convert_part(kind, keys[part], values[part]), part.start)
    return converted


def parts_of(count: int) -> list[slice]:
    """Slices that cut `count` records into parts, each of which is converted at once."""
    return [slice(first, min(first + PART_RECORDS, count)) for first in range(0, count, PART_RECORDS)]


def convert_part(kind: RecordKind, keys: Sequence[bytes | None], values: Sequence[bytes]) -> Converted:
    """Convert a few records: all at once, or each alone if one of them is bad."""
    columns = kind.documents(keys, values)
    if columns is not None:
        return Converted(*columns, [], encoded=type(kind).documents is RecordKind.documents)
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


ANSWER_LIMIT_S = 10.0
"""An answer takes milliseconds; a helper that gives none for so long is given up."""

_LENGTH = 8
_SHARED_BYTES = 16 * 1024 * 1024
"""Memory is taken only as it is used. A larger batch is converted in the sink's thread."""
_READY = b"!"
_TOO_LARGE = [(b"", 0, 0)]
"""The answer of a helper whose answer would be."""
_INHERITED = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH", PLUGINS)
"""The helper is not given the sink's other variables, some of which are secrets."""

_encode = msgspec.msgpack.Encoder().encode
_decode_asked = msgspec.msgpack.Decoder(tuple[list[bytes | None], list[bytes]]).decode
_decode_sizes = msgspec.msgpack.Decoder(list[tuple[int, int, int]]).decode
_decode_converted = msgspec.msgpack.Decoder(Converted).decode

_Part = tuple[bytes, int, int]
"""A part of a batch, encoded; the place of its first record, and how many it has."""


class HelperProcess:
    """A running helper process. Call its methods from one thread only, except `kill`."""

    def __init__(self, kind: RecordKind, *, answer_limit_s: float = ANSWER_LIMIT_S) -> None:
        """Start it. Raises OSError."""
        shared = _shared_file()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._connection = _Connection(ours, shared)
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", __name__, str(shared), kind.name],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    env={name: os.environ[name] for name in _INHERITED if name in os.environ},
                    pass_fds=(shared,),
                )
            except BaseException:
                ours.close()
                raise
            finally:
                os.close(shared)
        self._answer_limit_s = answer_limit_s
        self._ready = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def ready(self) -> bool:
        """Whether it takes requests yet; returns at once. Raises OSError if it has ended."""
        if not self._ready:
            self._connection.socket.setblocking(False)
            try:
                self._ready = self._connection.socket.recv(1) == _READY
            except BlockingIOError:
                return False
            if not self._ready:
                raise ConnectionResetError("it has ended before it was ready")
            self._connection.socket.settimeout(self._answer_limit_s)
        return True

    def convert(self, records: Sequence[Received]) -> Converted | None:
        """As the function `convert`; None if records or documents are too large for it.

        Raises OSError if it has ended or does not answer; then it can only be closed.
        """
        columns = columns_of(records)
        parts = (
            (_encode((columns.keys[part], columns.values[part])), part.start, part.stop - part.start)
            for part in parts_of(len(columns))
        )
        if not self._connection.send(parts):
            return None
        converted = Converted([], [], [], [], encoded=True)
        for part, first, count in self._connection.receive():
            if count == 0:
                return None
            converted.add(_decode_converted(part), first)
        return converted

    def kill(self) -> None:
        """Kill it. May be called from any thread; a call that waits for an answer raises OSError."""
        self._process.kill()

    def close(self) -> None:
        """Kill it, and close the connection to it."""
        self._process.kill()
        self._process.wait()
        self._connection.socket.close()


class _Connection:
    """Passes messages between two processes: shared memory holds them, and a socket carries the length of each."""

    def __init__(self, connected: socket.socket, shared: int) -> None:
        self.socket = connected
        self._memory = mmap.mmap(shared, _SHARED_BYTES)

    def send(self, parts: Iterable[_Part]) -> bool:
        """Send all of `parts`; False: they are too large, and none was sent."""
        sizes: list[tuple[int, int, int]] = []
        end = 0
        for part, first, count in parts:
            begin, end = end, end + len(part)
            if end > _SHARED_BYTES:
                return False
            self._memory[begin:end] = part
            sizes.append((len(part), first, count))
        text = _encode(sizes)
        self.socket.sendall(len(text).to_bytes(_LENGTH, "big") + text)
        return True

    def receive(self) -> Iterator[tuple[memoryview, int, int]]:
        """The next parts to arrive; the next `send` overwrites them. Raises OSError."""
        sizes = _decode_sizes(self._read(int.from_bytes(self._read(_LENGTH), "big")))
        memory, end = memoryview(self._memory), 0
        for size, first, count in sizes:
            begin, end = end, end + size
            yield memory[begin:end], first, count

    def _read(self, size: int) -> bytes:
        text = b""
        while len(text) < size:
            part = self.socket.recv(size - len(text))
            if not part:
                raise ConnectionResetError("the other end has ended")
            text += part
        return text


def _shared_file() -> int:
    """The descriptor of a file in memory, or of a temporary one where the system has no such files."""
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("streamforge-records")
    else:
        import tempfile  # here alone: it would cost every sink milliseconds of its start

        with tempfile.TemporaryFile() as file:
            number = os.dup(file.fileno())
    os.ftruncate(number, _SHARED_BYTES)
    return number


def main(shared: int, kind_name: str) -> None:
    """Answer until the other end is closed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # those are for the sink: it works on for a while
    load_plugins(os.environ)
    kind = kind_named(kind_name)
    gc.disable()  # nothing here is in a cycle
    connection = _Connection(socket.socket(fileno=os.dup(0)), shared)
    try:
        connection.socket.sendall(_READY)
        while True:
            if not connection.send(_answer(kind, connection.receive())):
                connection.send(_TOO_LARGE)
    except ConnectionError:
        pass


def _answer(kind: RecordKind, asked: Iterable[tuple[memoryview, int, int]]) -> Sequence[_Part]:
    """The results for the parts that were asked."""
    # All of them before any is sent, which overwrites what was asked.
    return [(_encode(convert_part(kind, *_decode_asked(body))), first, count) for body, first, count in asked]


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
