"""Looks at what the manager stands on when somebody asks, every few seconds at most."""

from __future__ import annotations

import asyncio
import platform
import shutil
from collections import Counter
from collections.abc import Awaitable, Sequence
from typing import Final, TypeVar

from msgspec.structs import replace

from streamforge.manager.dependencies import Dependencies
from streamforge.manager.engine.document import Status
from streamforge.manager.engine.execution.exchange_limits import WEIGHT_WINDOW_MS
from streamforge.manager.engine.execution.reconciler import Reconciler
from streamforge.manager.engine.lifecycle.ban import Ban
from streamforge.manager.engine.lifecycle.launches import live
from streamforge.manager.health import answers as health_answers
from streamforge.manager.health.answer_cache import Kept
from streamforge.manager.health.findings import VERDICTS
from streamforge.manager.health.part_findings import (
    SeenExchange,
    SeenRoom,
    of_documents,
    of_exchange,
    of_parts,
    of_room,
    of_schedules,
    of_settings,
)
from streamforge.manager.health.readiness import ReadinessProbe
from streamforge.manager.health.store_usage import UsageSamples
from streamforge.manager.presentation import moment, moment_or_none
from streamforge.manager.schedules.service import Listed, ScheduleService
from streamforge.version import installed_version
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.model.usage import Sample, full_at_ms, growth_per_day, with_sample
from streamforge_utils.ports.launcher import JobState
from streamforge_utils.ports.provisioning import Finding
from streamforge_utils.runtime.life.worker_definition import Role

FRESH_S: Final = 3.0
"""A report holds for so long."""
SLOW_FRESH_S: Final = 60.0
"""What the exchange and the store say of themselves holds for so long: some stores count collection by collection."""
PATIENCE_S: Final = 4.0
"""How long a part may take to answer."""
FAILED: Final = 100
"""The newest workflows that failed which are looked at."""
_VERSIONS = 5

T = TypeVar("T")


class HealthService:
    """One report at a time, for all who ask."""

    def __init__(
        self, deps: Dependencies, reconciler: Reconciler, readiness: ReadinessProbe, schedules: ScheduleService
    ) -> None:
        self._deps = deps
        self._reconciler = reconciler
        self._readiness = readiness
        self._schedules = schedules
        self._started_ms = deps.clock.now_ms()
        self._report = Kept(self._look, deps.clock, lambda _: FRESH_S)
        # That something does not answer is looked at again soon.
        self._exchange = Kept(
            self._ask_exchange, deps.clock, lambda seen: FRESH_S if seen.ahead_s is None else SLOW_FRESH_S
        )
        self._room = Kept(self._ask_room, deps.clock, lambda seen: FRESH_S if seen.usage is None else SLOW_FRESH_S)

    async def look(self) -> health_answers.HealthReport:
        """The report. It never raises for what does not answer: that is what it tells."""
        return await self._report.get()

    async def _look(self) -> health_answers.HealthReport:
        deps = self._deps
        (parts, exchange, room), (schedules, failures, technologies, workers) = await asyncio.gather(
            asyncio.gather(self._readiness.look(), self._exchange.get(), self._room.get()),
            asyncio.gather(
                _within(self._schedules.list()),
                _within(self._failures()),
                _within(deps.technologies()),
                _within(self._workers()),
            ),
        )
        damaged = {**self._schedules.unreadable, **deps.workflows.unreadable, **deps.coverage.unreadable}
        found = [
            *of_settings(deps.misspelt, deps.doubtful),
            *of_parts(parts),
            of_room(room),
            *of_exchange(deps.exchange_name, exchange, self._ban()),
            *of_schedules(schedules or ()),
            *of_documents(damaged),
        ]
        found.sort(key=lambda one: VERDICTS.index(one.verdict))
        capacity, loaders, versions = self._running(workers)
        return health_answers.HealthReport(
            checked_at=moment(deps.clock.now_ms()),
            started_at=moment(self._started_ms),
            verdict=found[0].verdict,
            findings=[self._shown(one) for one in found],
            versions=health_answers.Versions(
                manager=installed_version(),
                python=platform.python_version(),
                bus=(technologies or {}).get("bus"),
                store=(technologies or {}).get("store"),
                ui=None,
                workers=versions,
            ),
            capacity=capacity,
            exchange=self._exchange_answer(exchange, loaders),
            store=_store_answer(room),
            schedules=None if schedules is None else _schedule_answer(schedules),
            failures=failures,
            settings=[
                one if one.value is None else replace(one, value=deps.redact(one.value)) for one in deps.settings
            ],
        )

    def _ban(self) -> Ban | None:
        """The one that lasts."""
        ban = self._reconciler.bans.ban
        return ban if self._deps.clock.now_ms() < ban.until_ms else None

    def _shown(self, found: Finding) -> health_answers.HealthFinding:
        return health_answers.HealthFinding(
            part=found.part,
            verdict=found.verdict,
            code=found.code,
            detail=self._deps.redact(found.detail),
            next_step=self._deps.redact(found.next_step),
        )

    async def _ask_exchange(self) -> SeenExchange:
        deps = self._deps
        if not deps.asks or self._ban() is not None:
            return SeenExchange(None, "")
        try:
            async with asyncio.timeout(PATIENCE_S):
                theirs_ms = await deps.exchange.server_time()
        except TimeoutError:
            waits = None if deps.exchange_waits is None else deps.exchange_waits.reason
            return SeenExchange(None, f"no answer within {PATIENCE_S:g} s{f' ({waits})' if waits else ''}")
        except StreamForgeError as error:
            return SeenExchange(None, str(error))
        return SeenExchange((theirs_ms - deps.clock.now_ms()) / 1000, "")

    async def _ask_room(self) -> SeenRoom:
        deps = self._deps
        try:
            async with asyncio.timeout(PATIENCE_S):
                free = None
                if deps.folder is not None:
                    free = (await asyncio.to_thread(shutil.disk_usage, deps.folder)).free
                usage = await deps.store.usage()
                now = Sample(deps.clock.now_ms(), usage.used_bytes)
                samples = with_sample(await UsageSamples(deps.store).all(), now)
        except TimeoutError:
            return SeenRoom(None, (), None, f"no answer within {PATIENCE_S:g} s")
        except (StreamForgeError, OSError) as error:
            return SeenRoom(None, (), None, str(error))
        return SeenRoom(usage, samples, free, "")

    async def _workers(self) -> int:
        jobs = [job for job in await self._deps.launcher.jobs() if job.state is JobState.RUNNING]
        return len({job.basket or job.name for job in jobs})

    async def _failures(self) -> list[health_answers.FailuresOfCode]:
        failed = await self._deps.workflows.find(where={"status": [Status.ERROR.value]}, limit=FAILED)
        of_code: dict[str, health_answers.FailuresOfCode] = {}
        counts: Counter[str] = Counter()
        for one in failed:  # newest first
            if one.failure is None:
                continue
            counts[one.failure.code] += 1
            of_code.setdefault(
                one.failure.code,
                health_answers.FailuresOfCode(
                    code=one.failure.code,
                    workflows=0,
                    queue_id=one.queue_id,
                    at=moment(one.ended_ms or one.created_ms),
                    reason=self._deps.redact(one.failure.reason),
                    next_step=self._deps.redact(one.failure.next_step),
                ),
            )
        return [replace(of_code[code], workflows=count) for code, count in counts.most_common()]

    def _running(self, workers: int | None) -> tuple[health_answers.Capacity, int, dict[str, int]]:
        """What runs, how many loaders there are, and how many attempts run with which version."""
        running = endless = waiting = loaders = 0
        versions: Counter[str] = Counter()
        for stored in self._deps.workflows.live.values():
            one = stored.workflow
            waiting += one.status is Status.PENDING
            begun = one.status is not Status.PENDING
            endless += begun and one.endless
            running += begun and not one.endless
            for step in one.steps:
                attempt = live(step)
                if attempt is not None and attempt.observed:
                    loaders += step.role is Role.LOADER
                    versions[attempt.runs or "unknown"] += 1
        capacity = health_answers.Capacity(
            workers=workers,
            running=running,
            most_running=self._deps.policy.max_running,
            live=endless,
            waiting=waiting,
            most=self._deps.policy.max_live,
        )
        return capacity, loaders, dict(versions.most_common(_VERSIONS))

    def _exchange_answer(self, seen: SeenExchange, loaders: int) -> health_answers.ExchangeHealth:
        deps, ban, now_ms = self._deps, self._ban(), self._deps.clock.now_ms()
        waits, policy = deps.exchange_waits, deps.policy
        told = None if waits is None else waits.weight
        used = None if told is None or told[1] // WEIGHT_WINDOW_MS != now_ms // WEIGHT_WINDOW_MS else told[0]
        most = policy.weight_per_minute + policy.manager_weight_per_minute
        return health_answers.ExchangeHealth(
            name=deps.source.exchange,
            urls=deps.source.urls,
            ahead_seconds=None if seen.ahead_s is None else round(seen.ahead_s, 3),
            banned_until=None if ban is None else moment(ban.until_ms),
            ban_reason=None if ban is None else deps.redact(ban.reason) or None,
            waits_for=None if waits is None or waits.reason is None else deps.redact(waits.reason),
            weight_used=used,
            weight_left=None if used is None else max(0, most - used),
            weight_loaders=policy.weight_per_minute,
            weight_manager=policy.manager_weight_per_minute,
            loaders=loaders,
        )


def _store_answer(room: SeenRoom) -> health_answers.StoreHealth | None:
    if room.usage is None:
        return None
    usage, limit = room.usage, room.usage.limit_bytes
    if limit is None and room.free_bytes is not None:
        limit = usage.used_bytes + room.free_bytes
    return health_answers.StoreHealth(
        used_bytes=usage.used_bytes,
        limit_bytes=usage.limit_bytes,
        limit_known=usage.limit_known,
        read_only=usage.read_only,
        growth_bytes_per_day=growth_per_day(room.samples),
        full_at=moment_or_none(full_at_ms(room.samples, limit)),
        free_bytes=room.free_bytes,
    )


def _schedule_answer(listed: Sequence[Listed]) -> health_answers.ScheduleHealth:
    return health_answers.ScheduleHealth(
        schedules=len(listed),
        paused=[one.schedule.name for one in listed if one.schedule.paused],
        overdue=[one.schedule.name for one in listed if one.overdue],
    )


async def _within(asked: Awaitable[T]) -> T | None:
    """The answer; None: there is none in time, as bus, store or launcher are silent, which is told as such."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await asked
    except (TimeoutError, StreamForgeError):
        return None
