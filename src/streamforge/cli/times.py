"""How an export writes instants."""

from __future__ import annotations

from enum import StrEnum


class Times(StrEnum):
    """How instants are written. ms: unix milliseconds, a number. iso: `2024-08-01T12:30:00.000Z`.

    timestamp: the type of that name in a Parquet file, in milliseconds and UTC.
    """

    MS = "ms"
    ISO = "iso"
    TIMESTAMP = "timestamp"
