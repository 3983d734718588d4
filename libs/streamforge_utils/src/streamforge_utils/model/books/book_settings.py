"""How an order book is kept."""

from __future__ import annotations

import msgspec


class BookSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a book is kept.

    limit, deep_limit: levels a side of a snapshot; the deep one where the best price has left what was known. top:
    levels of a `depth_top`. top_every_ms, checkpoint_every_ms: by the messages' time. held_diffs, held_bytes: of what
    is held for a snapshot that is on its way, at most. held_tickers: best prices that are held for their diff, at most.
    retry_ms, retry_most_ms: the wait after a snapshot that is of no use; it doubles each time. early_diffs, early_ms:
    of a new connection, while another one has not given yet what lies before, at most.
    """

    limit: int = 1000
    deep_limit: int = 5000
    top: int = 20
    top_every_ms: int = 10_000
    checkpoint_every_ms: int = 300_000
    held_diffs: int = 2_000
    held_bytes: int = 8 * 1024 * 1024
    held_tickers: int = 5_000
    retry_ms: int = 1_000
    retry_most_ms: int = 30_000
    early_diffs: int = 2_000
    early_ms: int = 5_000
