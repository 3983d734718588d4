"""The kinds of faults of the streams; `stream_strikes.py` carries them out."""

from __future__ import annotations

from streamforge.exchange.fault_kind import FaultKind
from streamforge.exchange.stream_frames import KINDS

STREAM_FAULTS: dict[str, FaultKind] = {
    "stream-silence": FaultKind(
        "stream", "the stream says nothing on this connection for `seconds`; 0: never again", {"seconds": 0.0}
    ),
    "stream-stall": FaultKind(
        "stream",
        "the connection says nothing for `seconds` (0: never again), without its pings where pings=0",
        {"seconds": 0.0, "pings": 1, "all": 0},
    ),
    "stream-reset": FaultKind("stream", "the connection is reset", {"all": 0}),
    "stream-close": FaultKind("stream", "the connection is closed with `code`", {"code": 1001, "all": 0}),
    "stream-old": FaultKind("stream", "the connection ends as one of 24 hours does", {"all": 0}),
    "stream-shutdown": FaultKind(
        "stream", "a shutdown is announced, and the connection closed `seconds` later", {"seconds": 0.0, "all": 0}
    ),
    "stream-slow": FaultKind(
        "stream", "from now on a client that takes nothing for `seconds` of the machine is cut", {"seconds": 10.0}
    ),
    "stream-frame": FaultKind(
        "stream",
        "the frame is odd: JSON that ends early, a byte that is not UTF-8, a mask, half of a frame and the end of the "
        "connection, half of a message, a message in two frames (which is right), a reserved bit, a length of 2^40",
        {"kind": "json"},
        {"kind": KINDS},
    ),
    "stream-missing": FaultKind("stream", "the event is never sent"),
    "stream-duplicate": FaultKind("stream", "the event is sent twice"),
    "stream-disordered": FaultKind("stream", "the event comes after the next `rows` of its stream", {"rows": 1}),
    "stream-late": FaultKind("stream", "the event comes `seconds` later", {"seconds": 30.0}),
    "stream-unknown": FaultKind("stream", "an event of an unknown kind comes before it"),
    "stream-unit": FaultKind("stream", "times in microseconds where milliseconds are expected, and the reverse"),
    "stream-open-bar": FaultKind("bar", "that the bar is over is never told"),
    "stream-corrected-bar": FaultKind(
        "bar", "the bar ends with another close and a trade less; the right one comes `seconds` later", {"seconds": 5.0}
    ),
    "stream-refused": FaultKind("connect", "the connection is refused with `status`", {"status": 429}),
}
