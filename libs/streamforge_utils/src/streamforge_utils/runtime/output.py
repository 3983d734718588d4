"""The data topic as a loader sees it: records go in and are confirmed; at the topic's cap they wait for its readers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from streamforge_utils.model.markers import EOS_KEY, EndOfStream, encode_marker
from streamforge_utils.ports.bus import BusAdmin, Message, Producer
from streamforge_utils.runtime.instruments import Instruments

BATCH_RECORDS = 5000
PATIENCE_S = 60.0
_IN_FLIGHT_LIMIT_S = 5.0  # less than a worker has to stop, by default


class Output:
    """Writes to one topic, in order. downstream: the consumer groups whose lag is measured."""

    def __init__(
        self,
        producer: Producer,
        admin: BusAdmin,
        topic: str,
        instruments: Instruments,
        *,
        downstream: Sequence[str] = (),
    ) -> None:
        self._producer = producer
        self._admin = admin
        self._topic = topic
        self._downstream = downstream
        self._instruments = instruments
        self._progress, self._metrics = instruments.progress, instruments.metrics

    async def write(self, records: Sequence[Message]) -> None:
        """Append `records` in order; on return every one is confirmed by the bus.

        Waits while the topic is full. A cancelled call waits a moment for what is under way.
        Raises RetryableError (retries are spent, or the topic stayed full) or PermanentError.
        """
        for start in range(0, len(records), BATCH_RECORDS):
            messages = records[start : start + BATCH_RECORDS]
            await self._send(messages, counted=True)
            self._metrics.observe("batch_records", len(messages), direction="written")

    async def close_stream(self, marker: EndOfStream) -> None:
        """Write the end-of-stream marker; raises as `write` does."""
        await self._send([Message(EOS_KEY, encode_marker(marker))], counted=False)

    async def measure(self) -> None:
        """Bring the progress's lag up to date: that of the slowest downstream group."""
        lags = [(await self._admin.lag(self._topic, group)).records for group in self._downstream]
        if lags:
            self._progress.lag = max(lags)

    async def _send(self, messages: Sequence[Message], *, counted: bool) -> None:
        async def once() -> None:
            sending = asyncio.ensure_future(self._producer.send(self._topic, messages))
            try:
                await asyncio.shield(sending)
            except asyncio.CancelledError:
                # The bus may take the messages all the same: nothing may be sent after them before that is known.
                await asyncio.wait([sending], timeout=_IN_FLIGHT_LIMIT_S)
                if not sending.done():
                    sending.cancel()
                elif not sending.cancelled() and sending.exception() is None and counted:
                    self._count(len(messages))
                raise

        await self._instruments.retry("records", once, patience_s=PATIENCE_S, waits="bus")
        if counted:
            self._count(len(messages))

    def _count(self, records: int) -> None:
        self._progress.records += records
        self._metrics.count("records", records)
