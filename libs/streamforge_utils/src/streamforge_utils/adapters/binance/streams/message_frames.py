"""What the frames of a connection carry: whole messages of text, unpacked, checked and limited.

The sizes of frames, masks and codes are checked by picows.
"""

from __future__ import annotations

import zlib

from picows import WSFrame, WSMsgType

from streamforge_utils.model.errors import PermanentError

LARGEST_MESSAGE = 1024 * 1024
"""Bytes of one message at most, unpacked; a diff of an order book has some ten thousand."""

EXTENSION = "permessage-deflate"
_TAIL = b"\x00\x00\xff\xff"
"""What the sender leaves out at the end of each packed message (RFC 7692, section 7.2.2)."""

_TEXT, _CONTINUATION = WSMsgType.TEXT, WSMsgType.CONTINUATION


class MalformedFrame(Exception):
    """What came is no message of text; the message says what is wrong with it."""


class Inflation:
    """Unpacks messages; one may refer to the text of those before it."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)  # reads what was packed with a smaller window, too

    def unpack(self, packed: bytes) -> bytes:
        """The message. Raises MalformedFrame."""
        try:
            message = self._inflater.decompress(packed + _TAIL, LARGEST_MESSAGE + 1)
        except zlib.error as error:
            raise MalformedFrame(f"a message cannot be unpacked ({error})") from None
        if len(message) > LARGEST_MESSAGE:
            raise MalformedFrame(f"a message has more than {LARGEST_MESSAGE} bytes unpacked")
        if self._inflater.eof:
            self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        return message


def agreed_inflation(extensions: str) -> Inflation | None:
    """What the header `Sec-WebSocket-Extensions` of the answer means; None: messages are not packed.

    Raises PermanentError if the server wants what was not offered.
    """
    if not extensions.strip():
        return None
    name, *parameters = (part.strip().partition("=") for part in extensions.split(";"))
    known = {"server_no_context_takeover", "client_no_context_takeover", "server_max_window_bits"}
    if name[0] != EXTENSION or not {parameter[0].strip() for parameter in parameters} <= known:
        raise PermanentError(
            f"the server wants to pack messages as {extensions[:100]!r}, which was not offered: check the URL"
        )
    return Inflation()


class MessageAssembly:
    """Joins frames to messages. inflation: unpacks those that are marked as packed; None: none may be."""

    def __init__(self, inflation: Inflation | None) -> None:
        self._inflation = inflation
        self._parts: list[bytes] = []
        self._size = 0
        self._packed = False

    def add(self, kind: WSMsgType, frame: WSFrame) -> bytes | None:
        """The message that `frame`, which is none of control, completes; None: more of it follows. kind: its own.

        Raises MalformedFrame.
        """
        payload = frame.get_payload_as_bytes()
        if kind is _TEXT and frame.fin and not (self._parts or frame.rsv1 or frame.rsv2 or frame.rsv3):
            message = payload
        else:
            if frame.rsv2 or frame.rsv3 or (frame.rsv1 and (self._inflation is None or kind is _CONTINUATION)):
                raise MalformedFrame("a frame has a reserved bit that was not agreed on")
            if kind is _CONTINUATION:
                if not self._parts:
                    raise MalformedFrame("a frame goes on with a message that did not begin")
            elif kind is not _TEXT:
                raise MalformedFrame("a message is not text")
            elif self._parts:
                raise MalformedFrame("a message begins before the one before it has ended")
            else:
                self._packed = bool(frame.rsv1)
            self._parts.append(payload)
            self._size += len(payload)
            if len(self._parts) > LARGEST_MESSAGE // 64:  # frames without content cost memory, too
                raise MalformedFrame(f"a message has more than {LARGEST_MESSAGE // 64} frames")
            if self._size > LARGEST_MESSAGE:
                raise MalformedFrame(f"a message has more than {LARGEST_MESSAGE} bytes")
            if not frame.fin:
                return None
            message = b"".join(self._parts)
            self._parts, self._size = [], 0
            if self._packed and self._inflation is not None:
                message = self._inflation.unpack(message)
        if len(message) > LARGEST_MESSAGE:
            # picows has refused the frame, but goes on until it has ended the connection.
            raise MalformedFrame(f"a message has more than {LARGEST_MESSAGE} bytes")
        if not message.isascii():
            try:
                message.decode()
            except UnicodeDecodeError as error:
                raise MalformedFrame(f"a message is no UTF-8 ({error.reason})") from None
        return message
