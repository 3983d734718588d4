"""Lag in records and in seconds."""

from __future__ import annotations

from collections.abc import Callable

from streamforge_utils.adapters.kafka.admin import Admin
from streamforge_utils.adapters.kafka.topic_config import Topic
from streamforge_utils.ports.bus import Lag

_FIRST_STEP_MS = 1000
_STEP_FACTOR = 4
_CLOSE_MS = 100
_LOOKS = 40
_KEPT = 1000


class LagMeter:
    """Measures what groups have still to read. For the thread of one lane.

    A broker tells the offset of a time, not the time of an offset: the age of the oldest message that is not committed
    is found by asking for earlier and earlier times, then halving; exact, or off by at most 0.1 s or a twentieth.
    """

    def __init__(self, admin: Admin, now_ms: Callable[[], int]) -> None:
        self._admin = admin
        self._now_ms = now_ms
        self._known: dict[tuple[str, int, int], int] = {}

    def lag(self, topic: Topic, group: str) -> Lag:
        """See `BusAdmin.lag`."""
        committed = self._admin.committed(topic, group)
        starts = self._admin.starts(topic)
        ends = self._admin.ends(topic)  # last: what is sent meanwhile counts, as nothing is missed then
        records, since = 0, None
        ranges: dict[int, tuple[int, int]] = {}
        for partition, end in ends.items():
            oldest = max(starts.get(partition, 0), committed.get(partition, 0))
            if oldest < end:
                records += end - oldest
                ranges[partition] = (oldest, end)
                sent_ms = self._time_of(topic, partition, oldest)
                since = sent_ms if since is None else min(since, sent_ms)
        return Lag(records, 0.0 if since is None else max(0, self._now_ms() - since) / 1000, ranges)

    def _time_of(self, topic: Topic, partition: int, offset: int) -> int:
        key = (topic.identity, partition, offset)
        known = self._known.get(key)
        if known is None:
            known = self._search(topic, partition, offset)
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[key] = known
        return known

    def _search(self, topic: Topic, partition: int, offset: int) -> int:
        now = self._now_ms()
        late, step = now, _FIRST_STEP_MS
        early = now - step
        for _ in range(_LOOKS):
            found, sent_ms = self._admin.at_time(topic, {partition: max(0, early)})[partition]
            if found == offset:
                return sent_ms
            if 0 <= found < offset or early <= 0:
                break
            late = early
            step *= _STEP_FACTOR
            early = now - step
        early = max(0, early)
        while late - early > max(_CLOSE_MS, (now - late) // 20):
            middle = (early + late) // 2
            found, sent_ms = self._admin.at_time(topic, {partition: middle})[partition]
            if found == offset:
                return sent_ms
            if 0 <= found < offset:
                early = middle
            else:
                late = middle
        return late
