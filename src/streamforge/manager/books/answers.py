"""The JSON that the API answers about the order book of a past moment."""

from __future__ import annotations

from typing import Annotated

import msgspec

from streamforge.manager.answers import Moment, VerdictName, example, meaning, one_of
from streamforge_utils.model.books.trust import Trust

NOT_KNOWN = "not known"
LEVELS = 20
"""The default number of levels a side."""
Level = tuple[str, str]


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A whole verified book that was stored."""

    collection: str
    last_update_id: int
    time: Moment
    time_ms: int


class Book(msgspec.Struct, frozen=True, kw_only=True):
    """The order book of a symbol right after its last diff at or before a moment."""

    symbol: Annotated[str, example("BTCUSDT")]
    at: Annotated[Moment, meaning("The moment that was asked for.")]
    at_ms: int
    trust: Annotated[
        str,
        one_of((*Trust, NOT_KNOWN)),
        meaning(
            "`verified`: it is known to be that of the exchange; `unverifiable`: nothing speaks against it; `suspect`: "
            "something in it or before it was lost or wrong; `not known`: what came between its last diff and the "
            "moment is not stored."
        ),
    ]
    why: Annotated[str | None, meaning("Why it is not verified.", "disconnect")]
    verdict: Annotated[
        VerdictName | None, meaning("What the coverage of the series says of the moment; none where it says nothing.")
    ]
    cause: Annotated[str | None, meaning("Why the moment is `lost` or `expired`.")]
    last_update_id: Annotated[int, meaning("The last update in the book.")]
    time: Annotated[Moment, meaning("Of its last diff.")]
    time_ms: int
    known_low: Annotated[str | None, meaning("No bid below this price is known; none: all bids are.")]
    known_high: Annotated[str | None, meaning("No ask above this price is known; none: all asks are.")]
    bids: Annotated[list[Level], meaning("Price and quantity of the best levels, highest price first.")]
    asks: Annotated[list[Level], meaning("Price and quantity of the best levels, lowest price first.")]
    bids_known: Annotated[int, meaning("How many bids are known, also beyond `limit`.")]
    asks_known: Annotated[int, meaning("How many asks are known, also beyond `limit`.")]
    checkpoint: Annotated[Checkpoint, meaning("The whole book that it was rebuilt from.")]
    diffs: Annotated[int, meaning("How many diffs led from there to it.")]
