"""Records become documents: decoded, checked and encoded again, many at once, here or in a helper process.

The helper holds nothing that could be lost. It reads from the socket that is its standard input and ends when that is
closed, which it is when its sink ends, in any way. It is ended by killing it. The sink's end of the socket gets a byte
once the helper is ready; then requests and answers take turns.
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
from streamforge_utils.ports.columns import columns_of, decode_columns

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


ANSWER_LIMIT_S = 10.0
"""An answer takes milliseconds; a process that gives none for so long is given up."""

_LENGTH = 8
_SHARED_BYTES = 16 * 1024 * 1024
"""Only what is used of it is really taken. What is larger, the sink converts itself."""
_READY = b"!"
_IMPOSSIBLE = [(b"", 0, 0)]
"""The answer of a process that cannot convert what it was given."""
_INHERITED = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH", PLUGINS)
"""The sink's other variables, secrets among them, are none of its business."""

_encode = msgspec.msgpack.Encoder().encode
_decode_sizes = msgspec.msgpack.Decoder(list[tuple[int, int, int]]).decode
_decode_converted = msgspec.msgpack.Decoder(Converted).decode

_Part = tuple[bytes, int, int]
"""A piece of memory, and two numbers that the other end wants to know of it."""


class HelperProcess:
    """A running process. Methods but `kill` belong to one thread."""

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
        """Whether it can be asked by now; returns at once. Raises OSError if it has ended."""
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
        """As `conversion.convert`; None if records or documents are too large for it, or it cannot read them.

        Raises OSError (it has ended, or does not answer); the process is of no more use then.
        """
        if not self._connection.send(columns_of(records).encoded()):
            return None
        converted = Converted([], [], [], [])
        for part, first, count in self._connection.receive():
            if count == 0:
                return None
            converted.add(_decode_converted(part), first)
        return converted

    def kill(self) -> None:
        """Have it end; from any thread. Who waits for an answer gets an OSError."""
        self._process.kill()

    def close(self) -> None:
        """End it, and the connection to it."""
        self._process.kill()
        self._process.wait()
        self._connection.socket.close()


class _Connection:
    """Messages between two processes: they lie in memory that both share, a socket says how long each is."""

    def __init__(self, connected: socket.socket, shared: int) -> None:
        self.socket = connected
        self._memory = mmap.mmap(shared, _SHARED_BYTES)

    def send(self, parts: Iterable[_Part]) -> bool:
        """Give the other end all of `parts`, or none and False: they are too large."""
        sizes: list[tuple[int, int, int]] = []
        end = 0
        for part, first, second in parts:
            begin, end = end, end + len(part)
            if end > _SHARED_BYTES:
                return False
            self._memory[begin:end] = part
            sizes.append((len(part), first, second))
        text = _encode(sizes)
        self.socket.sendall(len(text).to_bytes(_LENGTH, "big") + text)
        return True

    def receive(self) -> Iterator[tuple[memoryview, int, int]]:
        """The parts that come next, which lie there until some are sent. Raises OSError."""
        sizes = _decode_sizes(self._read(int.from_bytes(self._read(_LENGTH), "big")))
        memory, end = memoryview(self._memory), 0
        for size, first, second in sizes:
            begin, end = end, end + size
            yield memory[begin:end], first, second

    def _read(self, size: int) -> bytes:
        text = b""
        while len(text) < size:
            part = self.socket.recv(size - len(text))
            if not part:
                raise ConnectionResetError("the other end has ended")
            text += part
        return text


def _shared_file() -> int:
    """A file in memory, if there are such ones here."""
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
                connection.send(_IMPOSSIBLE)
    except ConnectionError:
        pass


def _answer(kind: RecordKind, asked: Iterable[tuple[memoryview, int, int]]) -> Sequence[_Part]:
    """What becomes of the records, encoded, with the place of the first and how many they are."""
    answer: list[_Part] = []
    first = 0
    for body, start, end in asked:
        try:
            keys, values, _ = decode_columns(body)
        except msgspec.MsgspecError:
            return _IMPOSSIBLE
        # Part by part: what lies in the processor's caches goes from end to end before the next.
        for part in parts_of(end - start):
            chosen = slice(start + part.start, start + part.stop)
            converted = convert_part(kind, keys[chosen], values[chosen])
            answer.append((_encode(converted), first + part.start, part.stop - part.start))
        first += end - start
    return answer


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
