"""How much room the store's data take: measured now and then, as metrics, with samples of its growth in the store."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import msgspec
import structlog

from streamforge_utils.model.errors import ConflictError, StreamForgeError
from streamforge_utils.model.messages import DECODE_ERRORS
from streamforge_utils.model.usage import Sample, full_at_ms, growth_per_day, with_sample
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.instrumentation import Observer
from streamforge_utils.ports.store import State, StateStore, Store

KIND, ID = "usage", "store"


class _Known(msgspec.Struct, frozen=True, kw_only=True):
    format: int = 1
    samples: tuple[Sample, ...] = ()


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Known).decode
_log = structlog.get_logger(__name__)


class UsageSamples:
    """One sample an hour, for thirty days."""

    def __init__(self, states: StateStore) -> None:
        self._states = states

    async def all(self) -> Sequence[Sample]:
        """The samples, oldest first. Raises RetryableError."""
        state = await self._states.get(KIND, ID)
        return _read(state)

    async def add(self, latest: Sample) -> Sequence[Sample]:
        """Keep a sample; returns all. Raises RetryableError."""
        state = await self._states.get(KIND, ID)
        samples = with_sample(_read(state), latest)
        with contextlib.suppress(ConflictError):  # another manager has just measured too
            await self._states.put(
                KIND, ID, _encode(_Known(samples=samples)), expected=None if state is None else state.revision
            )
        return samples


def _read(state: State | None) -> Sequence[Sample]:
    """None where the document is damaged: the growth is measured from now on."""
    try:
        return () if state is None else _decode(state.body).samples
    except DECODE_ERRORS as error:
        _log.error("the samples of the size of the store cannot be read, their document is damaged", error=str(error))
        return ()


EVERY_S = 900.0
WARN_SHARE = 0.8


class StoreUsageMonitor:
    """Called often; measures every quarter of an hour."""

    def __init__(self, store: Store, clock: Clock, observer: Observer) -> None:
        self._store = store
        self._clock = clock
        self._observer = observer
        self._samples = UsageSamples(store)
        self._measured_at = float("-inf")

    async def measure(self) -> None:
        """Measure if it is time, also if the store takes no more writes. Raises RetryableError or ConfigError."""
        now = self._clock.monotonic()
        if now - self._measured_at < EVERY_S:
            return
        self._measured_at = now
        usage = await self._store.usage()
        self._observer.gauge("store_used_bytes", usage.used_bytes)
        self._observer.gauge("store_measured_timestamp_seconds", self._clock.now_ms() / 1000)
        if usage.limit_bytes is not None:
            self._observer.gauge("store_limit_bytes", usage.limit_bytes)
            if usage.read_only or usage.used_bytes >= WARN_SHARE * usage.limit_bytes:
                _log.warning(
                    "the store is near the limit of its licence",
                    used_bytes=usage.used_bytes,
                    limit_bytes=usage.limit_bytes,
                    read_only=usage.read_only,
                )
        try:
            samples = await self._samples.add(Sample(self._clock.now_ms(), usage.used_bytes))
        except StreamForgeError as error:
            # A store that is full takes no sample either; what is known of its growth stays as it was.
            _log.warning("a sample of the store's size could not be kept", error=str(error))
            return
        self._observer.gauge("store_growth_bytes_per_day", growth_per_day(samples) or 0.0)
        if usage.limit_bytes is not None:
            full_ms = full_at_ms(samples, usage.limit_bytes)
            self._observer.gauge("store_full_timestamp_seconds", 0 if full_ms is None else full_ms / 1000)
