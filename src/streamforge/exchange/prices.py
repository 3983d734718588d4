"""Seeded candles: a pure function of (seed, symbol, interval, open time), computed in time proportional to the page.

The price is a function of the instant. Hence, between all intervals of one symbol:

- exactly consistent: `open` (the price at the open time) and `close` (the price at the end of the bar, at most one
  tick beside the next open). The close of an hour is the close of its last minute, and so on.
- not aggregates: `high`, `low`, volumes and the number of trades. They follow from their own hash within sensible
  bounds (high >= open, close >= low > 0; volumes > 0), so a 1h high need not be the highest 1m high, and 1m volumes
  do not add up to the 1h volume. Aggregating 43,200 minutes for one row of a month would cost too much.
"""

from __future__ import annotations

import hashlib
import math

from streamforge.exchange.candle_grid import Grid
from streamforge.exchange.config import SymbolSpec

_MASK = (1 << 64) - 1
_HOUR_S = 3_600
_MONTH_MS = 30 * 86_400_000
_NOISE = 0.0016
"""Width of the noise around the slow movement, as a share of the price."""


class PricePath:
    """The price of one symbol at every second, in ticks."""

    def __init__(self, seed: int, spec: SymbolSpec) -> None:
        self._key = _hash(f"{seed}:{spec.symbol}")
        self._price_ticks = spec.price * 10.0**spec.price_decimals
        phases = [_hash(f"{seed}:{spec.symbol}:{n}") / (1 << 64) * math.tau for n in range(3)]
        periods_h = (24 * 611.0, 24 * 47.3, 24 * 3.7)
        self._waves = [
            (size, math.tau / period, phase)
            for size, period, phase in zip((0.45, 0.12, 0.02), periods_h, phases, strict=True)
        ]
        self._spec = spec
        self._rows = _row_template(spec)
        self._tick = 10.0**-spec.price_decimals
        self._step = 10.0**-spec.quantity_decimals

    def rows(self, grid: Grid, first: int, last: int, until_ms: int | None = None) -> list[bytes]:
        """The rows of the bars `first` to `last` of `grid`, both included, as the exchange writes them.

        until_ms: the last bar is not over: its close, volumes and extremes are those reached at this instant.
        """
        spec, opens_ms = self._spec, grid.opens(first, last)
        last_ms = spec.delisted_ms if spec.delisted_ms is not None else opens_ms[-1]
        instants = [min(max(t, spec.listed_ms), last_ms) // 1000 for t in opens_ms]
        shares = 1.0
        if until_ms is not None:
            shares = (until_ms - opens_ms[-2] + 1) / (opens_ms[-1] - opens_ms[-2])
            instants[-1] = max(until_ms // 1000, instants[-2])
        points = self._points(instants)
        step_ms = grid.step_ms or _MONTH_MS
        minutes = step_ms / 60_000
        spread = min(0.0009 * math.sqrt(minutes), 0.15) * math.sqrt(shares) / 4096
        lots = max(minutes * shares, 0.02) / 256
        salt = self._key ^ (step_ms * 0x9E3779B97F4A7C15 & _MASK)
        tick, step, template = self._tick, self._step, self._rows
        texts = []
        opened, mixed = points[0]
        for position in range(len(opens_ms) - 1):
            following, next_mixed = points[position + 1]
            closed = following + (next_mixed >> 40 & 1) - (next_mixed >> 41 & 1)
            if closed < 1:
                closed = 1
            bits = (mixed ^ salt) * 0xBF58476D1CE4E5B9 & _MASK
            bits ^= bits >> 31
            top, bottom = (opened, closed) if opened > closed else (closed, opened)
            high = top + int(top * spread * (bits & 0xFFF))
            low = bottom - int(bottom * spread * (bits >> 12 & 0xFFF))
            part = bits >> 24 & 0xFFFF
            volume = int(part * part * lots) + 2
            taker = 1 + (volume - 1) * (bits >> 40 & 0x3FF) // 1024
            mean = (opened + closed) * 0.5 * tick * step
            texts.append(
                template
                % (
                    opens_ms[position],
                    opened * tick,
                    high * tick,
                    low * tick,
                    closed * tick,
                    volume * step,
                    opens_ms[position + 1] - 1,
                    volume * mean,
                    1 + (volume >> 8) + (bits >> 50 & 0xFF),
                    taker * step,
                    taker * mean,
                )
            )
            opened, mixed = following, next_mixed
        return "\n".join(texts).encode().split(b"\n")

    def _points(self, instants: list[int]) -> list[tuple[int, int]]:
        """Price in ticks and 64 hashed bits at each instant (unix seconds).

        Between full hours the slow movement is a straight line; the noise belongs to the second.
        """
        key, scale = self._key, _NOISE / (1 << 32)
        found = []
        hour, base, slope = -1, 0.0, 0.0
        for second in instants:
            if second // _HOUR_S != hour:
                hour = second // _HOUR_S
                base = self._at_hour(hour)
                slope = (self._at_hour(hour + 1) - base) / _HOUR_S
            x = (second * 0x9E3779B97F4A7C15 + key) & _MASK
            x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & _MASK
            x = (x ^ x >> 27) * 0x94D049BB133111EB & _MASK
            level = base + slope * (second - hour * _HOUR_S)
            ticks = int(level + level * scale * ((x >> 32) - 0x80000000))
            found.append((ticks if ticks > 0 else 1, x))
        return found

    def _at_hour(self, hour: int) -> float:
        level = 0.0
        for size, speed, phase in self._waves:
            level += size * math.sin(speed * hour + phase)
        return self._price_ticks * math.exp(level)


def _row_template(spec: SymbolSpec) -> str:
    price = f'"%.{spec.price_decimals}f{"0" * (8 - spec.price_decimals)}"'
    quantity = f'"%.{spec.quantity_decimals}f{"0" * (8 - spec.quantity_decimals)}"'
    digits = min(spec.price_decimals + spec.quantity_decimals, 8)
    amount = f'"%.{digits}f{"0" * (8 - digits)}"'
    return f'[%d,{price},{price},{price},{price},{quantity},%d,{amount},%d,{quantity},{amount},"0"]'


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
