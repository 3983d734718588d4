"""The limits of the exchange: the weight that each loader may use, and what the manager's own questions wait for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

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

MOST_OF_ONE = 30
"""One that breaks more often is not helped by another connection."""
_GROWS_MS = 30_000
"""After so long a process has half of what it is to have, after twice as long all; a quarter before."""
_LAUNCHING_MS = CONNECT_WINDOW_MS * 4 // 5
"""A process that may have made the connection it was launched for makes no other one."""


class Process(msgspec.Struct):
    """share: what it may have been told at most. planned: what it is to be told now.

    since_ms: when it was first seen. changed_ms: when its share changed. before: larger shares that it was told before,
    and until when they count.
    """

    since_ms: int
    changed_ms: int
    share: int = 0
    planned: int = 0
    before: list[tuple[int, int]] = []

    def reserved(self, now_ms: int) -> int:
        """So many it may have tried in the last five minutes, or may try in the next ones, also if told less now."""
        self.before = [one for one in self.before if one[0] > now_ms]
        return max((self.share, *(share for _, share in self.before)))

    def told(self, share: int, now_ms: int) -> None:
        if share < self.share:
            self.before.append((now_ms + CONNECT_WINDOW_MS, self.share))
        if share != self.share:
            self.share, self.changed_ms = share, now_ms


class Connects:
    """Deals the connections to the exchange's streams that may be tried in five minutes.

    One half is for processes that are launched, each of which makes one, the other half for connections that break. Of
    each only a half is usual: of the first one the rest is for who cannot wait, of the other one for who would have one
    alone. What was dealt counts until five minutes after it was taken back, also of those that have ended. A process
    has a fifth of the usual half at most, and a part of that at first, so that something is left for those that come
    next; and two at least, also where nothing is left (with the one it was launched for: one more), unless they are too
    many: then one, or they take turns; or all is dealt: then that one alone. So no five minutes have more than the
    total, also where many come and go, and where a manager follows another one whose `processes` it is given.
    """

    def __init__(self, total: int) -> None:
        self._most = max(1, total // 2)
        self._half = max(1, self._most // 2)
        self._beyond = self._most - self._half
        self._one = min(MOST_OF_ONE, max(1, self._half // 5))
        self.processes: dict[str, Process] = {}
        self._process_of: dict[str, str] = {}
        self._dealt: dict[str, int] = {}

    def restore(self, processes: Mapping[str, Process]) -> None:
        """Go on with what another one has dealt."""
        self.processes = dict(processes)

    def may_launch(self, launched: int, *, leaving: bool = False) -> bool:
        """Whether one more may be launched. launched: how many were in five minutes.

        leaving: it takes the place of one that is being ended, and cannot wait.
        """
        return launched < (self._most if leaving else self._half)

    def deal(self, running: Sequence[str], now_ms: int, processes: Mapping[str, str] | None = None) -> dict[str, int]:
        """The share of each of the `running` jobs that was not `sent` it.

        processes: of jobs that one process does, which share its connections.
        """
        self._process_of = {job: (processes or {}).get(job, job) for job in running}
        self._dealt = {job: share for job, share in self._dealt.items() if job in self._process_of}
        present = dict.fromkeys(self._process_of.values())
        for name in present:
            self.processes.setdefault(name, Process(now_ms, now_ms))
        for name, process in [*self.processes.items()]:
            if name not in present:
                process.told(0, now_ms)
                if not process.reserved(now_ms):
                    del self.processes[name]
        self._plan([self.processes[name] for name in present], now_ms)
        return {
            job: process.planned
            for job in running
            if (process := self.processes[self._process_of[job]]).planned != self._dealt.get(job)
            # That it was launched with one has to do, as long as nothing is left for it.
            and (process.planned or job in self._dealt or now_ms >= process.since_ms + _LAUNCHING_MS)
        }

    def _plan(self, present: Sequence[Process], now_ms: int) -> None:
        """Take back what is too much, and what others wait for; then deal what is left, first to who has least."""
        even = min(self._one, max(1, self._half // max(1, len(present))))
        crowded = len(present) > self._half
        waiting = crowded and sum(not one.share for one in present)
        for one in sorted(present, key=lambda one: one.changed_ms):
            one.planned = min(one.share, even)
            if waiting and one.share and now_ms >= one.changed_ms + CONNECT_WINDOW_MS:
                one.planned = 0
                waiting -= 1
        left = self._half - sum(one.reserved(now_ms) for one in self.processes.values())
        for one in sorted(present, key=lambda one: (one.planned, one.changed_ms)):
            if one.share and not one.planned:
                continue
            reserved = one.reserved(now_ms)
            wanted = min(even, max(2, self._one >> max(0, 2 - (now_ms - one.since_ms) // _GROWS_MS)))
            own = 0 if crowded and not one.share else reserved  # its turn is over
            least = 0 if crowded else max(0, min(2, left + self._beyond))
            one.planned = max(one.planned, min(wanted, max(least, own + max(0, left))))
            left -= max(0, one.planned - reserved)
            if one.planned > one.share:  # also if sending it fails: it may have come
                one.told(one.planned, now_ms)

    def sent(self, job: str, share: int, now_ms: int) -> None:
        """The job was sent this share."""
        self._dealt[job] = share
        if (process := self.processes.get(self._process_of.get(job, ""))) is not None:
            process.told(share, now_ms)


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

    def forget(self, name: str, /, **labels: str) -> None:
        self._observer.forget(name, **labels)

    def waiting(self, reason: str | None, until_ms: int | None = None, /) -> None:
        self.reason = reason
        self._observer.waiting(reason, until_ms)
