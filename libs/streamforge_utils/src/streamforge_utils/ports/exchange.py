"""The exchange: where market data comes from. Times are unix milliseconds, UTC."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from streamforge_utils.model.errors import OtherExchange
from streamforge_utils.model.kinds.paging import Page, Question
from streamforge_utils.model.series import Series

Rank = Callable[[], tuple[int, ...]]
"""Of requests that wait the one of the least rank goes first. It is asked for again and again: it may change."""


class SymbolInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A symbol as the exchange lists it. status: its own word, e.g. `TRADING` or `BREAK`; unknown ones pass."""

    symbol: str
    status: str
    base_asset: str = ""
    quote_asset: str = ""


class Identity:
    """Which exchange answers: the name that it gives itself.

    A test exchange names what it serves; one on this machine that gives no name has that of its address; any other has
    none (empty). expected: answers of all others are refused. met: who answered last; None: nobody has.
    """

    def __init__(self, expected: str | None = None) -> None:
        self.expected = expected
        self.met: str | None = None

    def answered(self, name: str, url: str) -> None:
        """The exchange `name` has answered at `url`. Raises OtherExchange."""
        self.met = name
        if self.expected is not None and name != self.expected:
            raise OtherExchange(
                f"{url} is {f'the exchange `{name}`' if name else 'another exchange'}, and the data here are of "
                f"`{self.expected}`: start that one again, or name its address with --exchange or "
                "STREAMFORGE_EXCHANGE_URL"
            )


class History(Protocol):
    """Records of the past, a page at a time. What comes as it happens is a stream, whole files are an archive."""

    async def page(self, series: Series, question: Question) -> Page:
        """One request: the records of `series` that the question asks for and that will not change any more.

        They ascend, and each is there once. A page may be shorter than the question allows though more records follow.
        Raises as `Exchange` says, and PermanentError for a kind that the exchange does not give so.
        """


class Exchange(History, Protocol):
    """Public market data. Every call keeps to the weight limit and spends its own retries before it raises.

    Raises RetryableError (retries are spent; BannedError if every call is refused for a time) or PermanentError
    (access refused; InvalidInput naming `symbol` if it lists no such symbol).
    The message names the request, the answer and what to do.
    """

    async def server_time(self) -> int:
        """The exchange's clock."""

    async def snapshot(self, series: Series, limit: int, *, rank: Rank = tuple) -> bytes:
        """One request: what the records of the series have led to by now, as the exchange answers.

        limit: of an order book, levels a side. rank: while several of this client wait for weight, the least goes
        first; `()` before all others. PermanentError also for a kind of which it gives none.
        """

    async def symbol_info(self, symbol: str) -> SymbolInfo:
        """The symbol, or PermanentError if the exchange does not list it."""

    async def symbols(self) -> Sequence[SymbolInfo]:
        """All that the exchange lists, sorted; an answer may be some minutes old."""

    def set_weight_limit(self, weight_per_minute: int) -> None:
        """The share of the exchange's request weight that this client may use from now on."""

    async def close(self) -> None:
        """Close the connections."""
