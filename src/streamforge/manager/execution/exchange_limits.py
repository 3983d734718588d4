"""The limits of the exchange: the weight that each loader may use, and what the manager's own questions wait for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.instrumentation import Observer

MINIMUM = 20
"""A loader gets at least this much a minute: ten pages. More loaders than that allows are dealt too much, and the
exchange's own counter, which every loader reads back, slows them down."""


class Budget:
    """Deals the weight a minute out in equal shares, again whenever the loaders change."""

    def __init__(self, weight_per_minute: int) -> None:
        self._total = weight_per_minute
        self._dealt: dict[str, int] = {}

    def share(self, loaders: int) -> int:
        """What each of `loaders` may use a minute."""
        return max(MINIMUM, self._total // max(1, loaders))

    def deal(
        self,
        live: Iterable[str],
        running: Iterable[str],
        *,
        banned: bool = False,
        together: Mapping[str, int] | None = None,
    ) -> dict[str, int]:
        """The new share of each of the `running` jobs that was not `sent` of it. live: also those just launched.

        banned: the exchange refuses everybody: 0 for all, which holds their requests back. together: how many jobs the
        process of each does, which is told what all of them may use.
        """
        names = set(live)
        share = 0 if banned else self.share(len(names))
        self._dealt = {name: dealt for name, dealt in self._dealt.items() if name in names}
        shares = {name: share * (together or {}).get(name, 1) for name in running}
        return {name: one for name, one in shares.items() if self._dealt.get(name) != one}

    def sent(self, job: str, share: int) -> None:
        """The job was launched with this share, or was sent it."""
        self._dealt[job] = share


CONNECT_WINDOW_MS = 300_000
"""Connections to the exchange's streams are counted over five minutes, by address."""
ALLOWED = 300
"""So many the exchange allows an address in that time."""


class Connects:
    """Deals the connections to the exchange's streams that may be tried in five minutes.

    One half is for attempts that are launched, each of which makes one; the other half is dealt to those that run, for
    connections that break. Where that is less than one for each, they take turns.
    """

    def __init__(self, total: int) -> None:
        self._half = max(1, total // 2)
        self._most = max(self._half, min(total, ALLOWED - self._half))
        self._dealt: dict[str, int] = {}

    def may_launch(self, launched_ms: Iterable[int], now_ms: int, *, leaving: bool = False) -> bool:
        """Whether one more may be launched. launched_ms: when those of late were.

        leaving: it takes the place of one that is being ended, and cannot wait: for it is the other half, too.
        """
        most = self._most if leaving else self._half
        return sum(one > now_ms - CONNECT_WINDOW_MS for one in launched_ms) < most

    def deal(self, running: Sequence[str], now_ms: int, processes: Mapping[str, str] | None = None) -> dict[str, int]:
        """The new share of each of the `running` jobs that was not `sent` of it.

        processes: of jobs that one process does, which share its connections.
        """
        self._dealt = {job: share for job, share in self._dealt.items() if job in running}
        process_of = {job: (processes or {}).get(job, job) for job in running}
        all_ = list(dict.fromkeys(process_of.values()))
        shares = {process: self.share(at, all_, now_ms) for at, process in enumerate(all_)}
        return {job: n for job in running if self._dealt.get(job) != (n := shares[process_of[job]])}

    def share(self, place: int, running: Sequence[object], now_ms: int) -> int:
        """What the process at that place may try in five minutes."""
        if len(running) <= self._half:
            return self._half // max(1, len(running))
        return int((place + now_ms // CONNECT_WINDOW_MS * self._half) % len(running) < self._half)

    def sent(self, job: str, share: int) -> None:
        """The job was sent this share."""
        self._dealt[job] = share


WEIGHT_WINDOW_MS = 60_000
"""The exchange counts request weight in fixed minutes."""


class ExchangeWaits:
    """An observer that passes everything on to `observer` and remembers the wait that is reported now.

    weight: what the exchange said last that this address has used in a minute, and when; None: it has not said it.
    """

    def __init__(self, observer: Observer, clock: Clock) -> None:
        self._observer = observer
        self._clock = clock
        self.reason: str | None = None
        self.weight: tuple[int, int] | None = None

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        self._observer.count(name, amount, **labels)

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        if name == "exchange_address_weight":
            self.weight = int(value), self._clock.now_ms()
        self._observer.gauge(name, value, **labels)

    def waiting(self, reason: str | None, until_ms: int | None = None, /) -> None:
        self.reason = reason
        self._observer.waiting(reason, until_ms)
