"""A process that converts records for a sink: what runs in it, and the sink's end of the line to it.

It holds nothing that could be lost. It reads from the socket that is its standard input and ends when that is closed,
which it is when its sink ends, in whatever way. It is ended by killing it.

Its other end gets a byte once it is ready. Then requests and answers take turns.
"""

from __future__ import annotations

import gc
import importlib
import mmap
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from streamforge_utils.runtime.converting import Conversion, Converted, convert_part, parts_of

ANSWER_LIMIT_S = 10.0
"""An answer takes milliseconds; a process that gives none for so long is given up."""

_LENGTH = 8
_SHARED_BYTES = 16 * 1024 * 1024
"""Only what is used of it is really taken. What is larger, the sink converts itself."""
_READY = b"!"
_INHERITED = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH")
"""The sink's other variables, secrets among them, are none of its business."""

_encode = msgspec.msgpack.Encoder().encode
_decode_parts = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_decode_columns = msgspec.msgpack.Decoder(tuple[list[bytes | None], list[bytes]]).decode
_decode_answer = msgspec.msgpack.Decoder(list[Converted]).decode


class ConversionProcess:
    """A running process. Methods but `kill` belong to one thread."""

    def __init__(self, conversion: Conversion, *, answer_limit_s: float = ANSWER_LIMIT_S) -> None:
        """Start it. Raises OSError or ValueError (a function has no name to be imported by)."""
        names = [_name_of(conversion.one), _name_of(conversion.many)]
        shared = _shared_file()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._line = _Line(ours, shared)
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", __name__, str(shared), *names],
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
            self._line.socket.setblocking(False)
            try:
                self._ready = self._line.socket.recv(1) == _READY
            except BlockingIOError:
                return False
            if not self._ready:
                raise ConnectionResetError("it has ended before it was ready")
            self._line.socket.settimeout(self._answer_limit_s)
        return True

    def convert(self, keys: Sequence[bytes | None], values: Sequence[bytes]) -> Converted | None:
        """As `converting.convert`; None if records or documents are too large for it.

        Raises OSError (it has ended, or does not answer); the process is of no more use then.
        """
        parts = [(keys[part], values[part]) for part in parts_of(len(values))]
        if not self._line.send(parts):
            return None
        answer = self._line.receive()
        if not answer:
            return None
        converted = Converted([], [], [], [])
        for part, found in zip(parts_of(len(values)), _decode_answer(answer), strict=True):
            converted.add(found, part.start)
        return converted

    def kill(self) -> None:
        """Have it end; from any thread. Who waits for an answer gets an OSError."""
        self._process.kill()

    def close(self) -> None:
        """End it, and the line to it."""
        self._process.kill()
        self._process.wait()
        self._line.socket.close()


class _Line:
    """Messages between two processes: they lie in memory that both share, a socket says how long each is."""

    def __init__(self, connected: socket.socket, shared: int) -> None:
        self.socket = connected
        self._memory = mmap.mmap(shared, _SHARED_BYTES)
        self._encode_into = msgspec.msgpack.Encoder().encode_into
        self._encoded = bytearray()

    def send(self, message: Any) -> bool:
        """Give the other end a message; False if it is too large, and an empty one is to be given instead."""
        self._encode_into(message, self._encoded)
        size = len(self._encoded)
        if size > _SHARED_BYTES:
            return False
        self._memory[:size] = self._encoded
        self.say(size)
        return True

    def say(self, size: int) -> None:
        self.socket.sendall(size.to_bytes(_LENGTH, "big"))

    def receive(self) -> memoryview:
        """The next message, which lies there until one is sent. Raises OSError."""
        told = b""
        while len(told) < _LENGTH:
            part = self.socket.recv(_LENGTH - len(told))
            if not part:
                raise ConnectionResetError("the other end has ended")
            told += part
        return memoryview(self._memory)[: int.from_bytes(told, "big")]


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


def _name_of(function: Callable[..., Any]) -> str:
    module, name = function.__module__, function.__qualname__
    if getattr(sys.modules[module], name, None) is not function:
        raise ValueError(f"{module}.{name} cannot be imported by its name")
    return f"{module}:{name}"


def _function(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def main(shared: int, names: Sequence[str]) -> None:
    """Answer until the other end is closed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # those are for the sink: it works on for a while
    conversion = Conversion(*map(_function, names))
    gc.disable()  # nothing here is in a cycle
    line = _Line(socket.socket(fileno=os.dup(0)), shared)
    try:
        line.socket.sendall(_READY)
        while True:
            # Part by part: what lies in the processor's caches goes from end to end before the next.
            answer = [
                msgspec.Raw(_encode(convert_part(conversion, *_decode_columns(part))))
                for part in _decode_parts(line.receive())
            ]
            if not line.send(answer):
                line.say(0)
    except ConnectionError:
        pass


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
