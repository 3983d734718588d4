"""Seeded trades as lines of CSV, in blocks: what the archive's files of a day of millions of trades are made of."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import TypeVar

from streamforge.exchange.prices import AGGREGATES, TRADES
from streamforge.exchange.seeded_trades import TRADES_OF, Fill, Tape

T = TypeVar("T")
_Lines = Callable[[int, list[Fill]], str]
_WORDS = ("False", "True")


class TradeLines:
    """The columns of one symbol. end_of_time: digits behind the milliseconds; `000` makes microseconds of them."""

    def __init__(self, tape: Tape, end_of_time: str = "") -> None:
        spec = tape.spec
        digits = min(spec.price_decimals + spec.quantity_decimals, 8)
        self._tape, self._end = tape, end_of_time
        self._price = f"%.{spec.price_decimals}f{'0' * (8 - spec.price_decimals)}"
        self._quantity = f"%.{spec.quantity_decimals}f{'0' * (8 - spec.quantity_decimals)}"
        self._amount = f"%.{digits}f{'0' * (8 - digits)}"
        self._tick, self._step = 10.0**-spec.price_decimals, 10.0**-spec.quantity_decimals

    def trades(self, first: int, last: int) -> Iterator[bytes]:
        """The lines of the trades `first` to `last`, both included."""
        return self._cut(self._of_trades, TRADES, first, last)

    def aggregates(self, first: int, last: int) -> Iterator[bytes]:
        """The lines of the aggregated trades `first` to `last`, both included."""
        return self._cut(self._of_aggregates, AGGREGATES, first, last)

    def _cut(self, lines: _Lines, a_cycle: int, first: int, last: int) -> Iterator[bytes]:
        first_cycle, last_cycle = first // a_cycle, last // a_cycle
        for begin, fills in self._tape.minutes(first_cycle, last_cycle):
            start, end = max(begin, first_cycle), min(begin + len(fills) // AGGREGATES, last_cycle + 1)
            text = lines(start, fills[(start - begin) * AGGREGATES : (end - begin) * AGGREGATES])
            before, behind = max(first - start * a_cycle, 0), max(end * a_cycle - 1 - last, 0)
            if before or behind:
                text = "".join(text.splitlines(keepends=True)[before : a_cycle * (end - start) - behind])
            yield text.encode()

    def _of_trades(self, cycle: int, fills: list[Fill]) -> str:
        price, amount, tick, both, end = self._price, self._amount, self._tick, self._tick * self._step, self._end
        texts, texts_of_2, texts_of_3 = _Texts(self._quantity_of), _Texts(self._halves), _Texts(self._thirds)
        found = []
        i = cycle * TRADES
        for place in range(0, len(fills), AGGREGATES):
            (t0, p0, q0, m0), (t1, p1, q1, m1), (t2, p2, _, _), (t3, p3, q3, m3), (t4, p4, q4, m4) = fills[
                place : place + AGGREGATES
            ]
            more, half, of_more, of_half = texts_of_2[q1]
            most, third, of_most, of_third = texts_of_3[q3]
            x1, x3 = price % (p1 * tick), price % (p3 * tick)
            tail1, tail3 = f"{t1}{end},{_WORDS[m1]},True", f"{t3}{end},{_WORDS[m3]},True"
            same = f"{x3},{of_third},{amount % (p3 * third * both)},{tail3}"
            found.append(
                f"{i},{price % (p0 * tick)},{texts[q0]},{amount % (p0 * q0 * both)},{t0}{end},{_WORDS[m0]},True\n"
                f"{i + 1},{x1},{of_more},{amount % (p1 * more * both)},{tail1}\n"
                f"{i + 2},{x1},{of_half},{amount % (p1 * half * both)},{tail1}\n"
                f"{i + 3},{price % (p2 * tick)},{texts[1]},{amount % (p2 * both)},{t2}{end},True,True\n"
                f"{i + 4},{x3},{of_most},{amount % (p3 * most * both)},{tail3}\n"
                f"{i + 5},{same}\n"
                f"{i + 6},{same}\n"
                f"{i + 7},{price % (p4 * tick)},{texts[q4]},{amount % (p4 * q4 * both)},{t4}{end},{_WORDS[m4]},True\n"
            )
            i += TRADES
        return "".join(found)

    def _of_aggregates(self, cycle: int, fills: list[Fill]) -> str:
        price, tick, end, texts = self._price, self._tick, self._end, _Texts(self._quantity_of)
        number, first_id = cycle * AGGREGATES, cycle * TRADES
        counts = itertools.cycle(TRADES_OF)
        found = []
        for count, (time_ms, ticks, quantity, maker) in zip(counts, fills, strict=False):
            found.append(
                f"{number},{price % (ticks * tick)},{texts[quantity]},{first_id},{first_id + count - 1},"
                f"{time_ms}{end},{_WORDS[maker]},True\n"
            )
            number += 1
            first_id += count
        return "".join(found)

    def _quantity_of(self, steps: int) -> str:
        return self._quantity % (steps * self._step)

    def _halves(self, steps: int) -> tuple[int, int, str, str]:
        half = steps // 2
        return steps - half, half, self._quantity_of(steps - half), self._quantity_of(half)

    def _thirds(self, steps: int) -> tuple[int, int, str, str]:
        third = steps // 3
        return steps - 2 * third, third, self._quantity_of(steps - 2 * third), self._quantity_of(third)


class _Texts(dict[int, T]):
    """What `make` makes of a number, made once. A minute has few different quantities."""

    def __init__(self, make: Callable[[int], T]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, number: int) -> T:
        made = self[number] = self._make(number)
        return made
