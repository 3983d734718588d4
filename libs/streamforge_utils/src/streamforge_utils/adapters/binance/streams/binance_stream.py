"""The stream port on Binance Spot's WebSocket streams, or on a server that speaks as they do.

Source: Binance Spot, WebSocket streams: the combined form, in milliseconds.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Sequence

from streamforge_utils.adapters.binance.streams.binance_connection import BinanceConnection
from streamforge_utils.adapters.binance.streams.connect_budget import ConnectBudget
from streamforge_utils.adapters.binance.streams.message_frames import Inflation
from streamforge_utils.adapters.binance.streams.opening import open_connection
from streamforge_utils.adapters.binance.streams.stream_address import StreamAddress
from streamforge_utils.adapters.binance.streams.subscriptions import checked_streams, subscribe
from streamforge_utils.adapters.binance.waits import Waits
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.instrumentation import Observer

SILENCE_S = 45.0
"""The exchange sends a ping every 20 s."""


def _unix_us() -> int:
    return time.time_ns() // 1000


class BinanceStream:
    """Streams at `address`. connects: how many connections may be tried in five minutes.

    silence_s: a connection ends if no frame of any kind comes for so long. now_us: this machine's clock.
    """

    def __init__(
        self,
        address: StreamAddress,
        *,
        connects: int,
        clock: Clock,
        observer: Observer,
        silence_s: float = SILENCE_S,
        now_us: Callable[[], int] = _unix_us,
    ) -> None:
        self._address = address
        self._clock = clock
        self._observer = observer
        self._silence_s = silence_s
        self._now_us = now_us
        self._budget = ConnectBudget(connects, clock, Waits(clock, observer))
        self._connections = weakref.WeakSet[BinanceConnection]()
        self._made = 0
        self._closed = False

    async def connect(self, streams: Sequence[str]) -> BinanceConnection:
        """A connection with all of `streams`, see `ports.stream`."""
        names = checked_streams(streams)
        await self._budget.take()
        outcome, made = "failed", list[BinanceConnection]()

        def new_connection(inflation: Inflation | None) -> BinanceConnection:
            made.append(self._new_connection(inflation))
            return made[0]

        try:
            self._raise_if_closed()
            connection = await open_connection(self._address, new_connection, self._clock)
            await subscribe(connection, names, self._clock)
            self._raise_if_closed()
            outcome = "ok"
            return connection
        except BaseException:
            for connection in made:  # also where this call was cancelled in the moment in which it was opened
                await connection.abort()
            raise
        finally:
            self._observer.count("stream_connects_total", outcome=outcome)

    def set_connect_limit(self, connects: int) -> None:
        """How many connections may be tried in five minutes from now on; 0 holds all back."""
        self._budget.set_share(connects)

    async def close(self) -> None:
        """Abort all connections; none is made any more."""
        self._closed = True
        for connection in list(self._connections):
            await connection.abort()

    def _new_connection(self, inflation: Inflation | None) -> BinanceConnection:
        self._made += 1
        connection = BinanceConnection(
            self._made,
            self._address.shown,
            inflation,
            silence_s=self._silence_s,
            clock=self._clock,
            now_us=self._now_us,
            observer=self._observer,
        )
        self._connections.add(connection)
        return connection

    def _raise_if_closed(self) -> None:
        if self._closed:
            raise PermanentError("no connection is made: this client of the exchange's streams is closed")
