"""The streams of an order book, read for who leads the book on: each message once, in its order."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from streamforge_utils.model.books.book_messages import BookTicker, DepthDiff, read_message
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.streaming import Heard, Streaming
from streamforge_utils.model.series import Series

Message = DepthDiff | BookTicker | str
"""What a message says, or why it cannot be read."""


class BookHeard(Heard, frozen=True, gc=False):
    """messages: those of the symbol, each as it came and what it says. positions, times: of the diffs among them.

    others: best prices, too: a connection that gives them alone gives nothing of the series. That they are silent,
    `Witness` notices.
    """

    messages: Sequence[tuple[bytes, Message]] = ()


def ticker_stream(series: Series) -> str:
    """The exchange's name of the stream of best prices."""
    return f"{series.symbol.lower()}@bookTicker"


class BookStreams(Streaming):
    """Binance Spot's diffs, ten a second, and the best prices as a witness of the book that they make.

    What a diff says of levels is not checked yet: who leads the book on does that.
    """

    def streams(self, series: Series) -> tuple[str, ...]:
        return f"{series.symbol.lower()}@depth@100ms", ticker_stream(series)

    def read(self, payloads: Sequence[bytes], series: Series, observed_ms: int) -> BookHeard:
        symbol, messages = series.symbol, list[tuple[bytes, Message]]()
        positions, times, others, broken = list[int](), list[int](), list[bytes](), 0
        for payload in payloads:
            try:
                message = read_message(payload)
            except PermanentError as error:
                messages.append((payload, str(error)))
                broken += not isinstance(error.__cause__, msgspec.ValidationError)
                continue
            if type(message) is not DepthDiff or message.symbol != symbol:
                others.append(payload)
            else:
                positions.append(message.last_id)
                times.append(message.time_ms)
            if message is not None and message.symbol == symbol:
                messages.append((payload, message))
        return BookHeard(positions=positions, times=times, others=others, broken=broken, messages=messages)
