"""What the faults of the streams do to an event that is about to be sent, and to its connection."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

from streamforge.exchange.book_faults import Overlaps, spoilt_diff
from streamforge.exchange.fault_kind import STREAM_PATH, Fault, Target
from streamforge.exchange.faults import Faults
from streamforge.exchange.stream_connection import AGED, Ending, How, StreamConnection
from streamforge.exchange.stream_feed import Outgoing
from streamforge.exchange.stream_source import StreamEvent

_OVER = b'"x":true'
_UNKNOWN = b'{"e":"somethingNew"'
_DIFF = b'"e":"depthUpdate"'
_CLOSE = re.compile(rb'("c":)"[^"]+"(,"h":("[^"]+"),"l":("[^"]+"),"v":"[^"]+","n":)(\d+)')
_replace = msgspec.structs.replace


class StreamStrikes:
    """Carries out the faults. connections: those that are open."""

    def __init__(self, faults: Faults, connections: Iterable[StreamConnection]) -> None:
        self._faults, self._connections = faults, connections
        self._overlaps = Overlaps()

    def __call__(self, connection: StreamConnection, outgoing: Outgoing) -> list[Outgoing]:
        """What is sent now in its place."""
        outgoing = self._overlaps.joined(connection, outgoing)
        sent = [outgoing]
        for fault in self._struck(outgoing):
            before, sent = sent, []
            for each in before:
                known = each.event.data[: len(_UNKNOWN)] != _UNKNOWN
                sent += self._after(fault, connection, each) if known else [each]
        return sent

    def refused(self, names: Iterable[str]) -> int | None:
        """The status with which a request to connect is refused; None: it is not. names: the streams it names."""
        for name in names or ("",):
            target = Target(STREAM_PATH, name.partition("@")[0].upper(), stream=name)
            for fault in self._faults.strike("connect", target):
                return int(fault.number("status"))
        return None

    def _struck(self, outgoing: Outgoing) -> Iterator[Fault]:
        target = Target(STREAM_PATH, outgoing.name.symbol, stream=outgoing.name.text)
        yield from self._faults.strike("stream", target)
        if _OVER in outgoing.event.data:
            yield from self._faults.strike("bar", target)
        if outgoing.name.word == "depth" and _DIFF in outgoing.event.data:
            yield from self._faults.strike("diff", target)
        elif outgoing.name.word == "bookTicker":
            yield from self._faults.strike("ticker", target)

    def _after(self, fault: Fault, connection: StreamConnection, outgoing: Outgoing) -> list[Outgoing]:
        """What is sent of an event after `fault`."""
        name, event, now_ms = outgoing.name.text, outgoing.event, connection.position_ms
        seconds = fault.number("seconds") if "seconds" in fault.options else 0.0
        end_ms = now_ms + seconds * 1000 if seconds else float("inf")
        later_ms = now_ms + round(seconds * 1000)
        match fault.name:
            case "stream-silence":
                connection.silent[name] = end_ms
            case "stream-stall":
                for one in self._all_of(fault, connection):
                    one.stalled_ms, one.pings = end_ms, bool(fault.number("pings"))
            case "stream-reset" | "stream-close" | "stream-old":
                for one in self._all_of(fault, connection):
                    one.end(_ending(fault))
            case "stream-shutdown":
                for one in self._all_of(fault, connection):
                    one.shut_down(now_ms, later_ms - now_ms)
                return [outgoing]
            case "stream-slow":
                connection.patience_s = seconds
                return [outgoing]
            case "stream-frame":
                return [_replace(outgoing, spoilt=str(fault.options["kind"]))]
            case "stream-duplicate":
                return [outgoing, outgoing]
            case "stream-disordered":
                connection.held.setdefault(name, []).append((int(fault.number("rows")), outgoing))
            case "stream-late":
                connection.agenda.add(later_ms, outgoing)
            case "stream-unknown":
                data = _UNKNOWN + b',"E":%d,"s":"%s"}' % (event.time_ms, outgoing.name.symbol.encode())
                return [_replace(outgoing, event=StreamEvent(event.time_ms, data)), outgoing]
            case "stream-unit":
                return [_replace(outgoing, other_unit=True)]
            case "depth-overlap":
                self._overlaps.add(connection, outgoing)
                return [outgoing]
            case "depth-ids" | "depth-crossed" | "depth-quantity" | "ticker-differs":
                return [spoilt_diff(fault, outgoing)]
            case "stream-corrected-bar":
                connection.agenda.add(later_ms, outgoing)
                return [_replace(outgoing, event=_replace(event, data=_CLOSE.sub(_other_bar, event.data)))]
        return []

    def _all_of(self, fault: Fault, connection: StreamConnection) -> list[StreamConnection]:
        """The connections that a fault concerns."""
        return list(self._connections) if fault.number("all") else [connection]


def _ending(fault: Fault) -> Ending:
    match fault.name:
        case "stream-reset":
            return Ending("fault", How.RESET)
        case "stream-close":
            return Ending("fault", code=int(fault.number("code")))
    return AGED


def _other_bar(match: re.Match[bytes]) -> bytes:
    """A close that the bar has had, and a trade less."""
    begin, middle, high, low, trades = match.groups()
    other = low if low != high and match[0][len(begin) :].startswith(high) else high
    return b"%s%s%s%d" % (begin, other, middle, max(int(trades) - 1, 0))
