"""The JSON that the API answers about the manager's own health; as `answers.py`."""

from __future__ import annotations

from typing import Annotated

import msgspec

from streamforge.manager.answers import QUEUE_ID, Moment, meaning, one_of
from streamforge.manager.health.findings import VERDICTS, FindingCode
from streamforge.manager.health.shown_settings import Setting as Setting

VerdictOfHealth = Annotated[str, one_of(VERDICTS), meaning("careful: it works, and a person should look at it.")]


class HealthFinding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at; as `streamforge doctor` tells it."""

    part: Annotated[str, meaning("What was looked at.", "exchange")]
    verdict: VerdictOfHealth
    code: Annotated[str, one_of(FindingCode)]
    detail: Annotated[str, meaning("What was found.")]
    next_step: Annotated[str, meaning("What to do about it; empty where it works.")]


class Versions(msgspec.Struct, frozen=True, kw_only=True):
    """What runs."""

    manager: Annotated[str, meaning("", "0.1.0")]
    python: Annotated[str, meaning("", "3.13.1")]
    bus: Annotated[str | None, meaning("None: not known now.", "files (SQLite 3.46.1)")]
    store: Annotated[str | None, meaning("None: not known now.", "ArangoDB 3.12.5")]
    ui: Annotated[str | None, meaning("The script of the web UI that is served; none: it is not built.")]
    workers: Annotated[
        dict[str, int], meaning("By version or image, how many attempts run with it now.", {"version 0.1.0": 4})
    ]


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """What runs now, and how much may."""

    workers: Annotated[int | None, meaning("Processes or pods; a basket counts once. None: the launcher is silent.")]
    running: Annotated[int, meaning("Workflows that have begun and have an end.")]
    most_running: Annotated[int, meaning("STREAMFORGE_MAX_RUNNING: of those, at once; others wait.")]
    live: Annotated[int, meaning("Workflows without an end.")]
    waiting: Annotated[int, meaning("Workflows that have not begun.")]
    most: Annotated[int, meaning("Workflows that may be going on or waiting; more are refused for now.")]


class ExchangeHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The exchange, and how much may be asked of it in a minute."""

    name: Annotated[str, meaning("", "binance")]
    urls: tuple[str, ...]
    ahead_seconds: Annotated[float | None, meaning("By how much its clock is ahead of this machine's; none: unknown.")]
    banned_until: Annotated[Moment | None, meaning("Until then it refuses every call from this address.")]
    ban_reason: str | None
    waits_for: Annotated[str | None, meaning("What the manager's own questions wait for.")]
    weight_used: Annotated[
        int | None, meaning("By this address in the present minute, as it said last; none: it has not said it.")
    ]
    weight_left: Annotated[int | None, meaning("Of what the manager and its loaders may use in this minute.")]
    weight_loaders: Annotated[int, meaning("STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE: what all loaders share in a minute.")]
    weight_manager: Annotated[int, meaning("What the manager's own questions may use in a minute.")]
    loaders: Annotated[int, meaning("Those that run; each has an equal share.")]


class StoreHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How much room the data take."""

    used_bytes: int
    limit_bytes: Annotated[int | None, meaning("At which the store itself stops; none: the disk alone limits it.")]
    limit_known: Annotated[bool, meaning("Whether the store shows it; if not, there may be one.")]
    read_only: bool
    growth_bytes_per_day: Annotated[float | None, meaning("None: not known yet.")]
    full_at: Annotated[Moment | None, meaning("When the limit, or else the disk, is reached if it goes on so.")]
    free_bytes: Annotated[int | None, meaning("On the disk of the data directory; none: the store is elsewhere.")]


class ScheduleHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How many schedules there are."""

    schedules: int
    paused: Annotated[list[str], meaning("Their names.")]
    overdue: Annotated[list[str], meaning("Their names.")]


class FailuresOfCode(msgspec.Struct, frozen=True, kw_only=True):
    """The workflows that failed of late for one sort of reason; the latest of them in words."""

    code: Annotated[str, meaning("As `failure.code` of a workflow.", "exchange-refused")]
    workflows: int
    queue_id: Annotated[str, meaning("The latest one.", QUEUE_ID)]
    at: Moment
    reason: str
    next_step: str


class HealthReport(msgspec.Struct, frozen=True, kw_only=True):
    """What works and what does not, with what to do, and the facts behind it. Nothing of it is a secret."""

    checked_at: Annotated[Moment, meaning("It is looked again every few seconds at most, however many ask.")]
    started_at: Annotated[Moment, meaning("When this manager was started.")]
    verdict: VerdictOfHealth
    findings: Annotated[list[HealthFinding], meaning("The worst first.")]
    versions: Versions
    capacity: Capacity
    exchange: ExchangeHealth
    store: Annotated[StoreHealth | None, meaning("None: it cannot be told now.")]
    schedules: Annotated[ScheduleHealth | None, meaning("None: they cannot be read now.")]
    failures: Annotated[
        list[FailuresOfCode] | None,
        meaning("Of the newest hundred workflows that failed, most first. None: they cannot be read now."),
    ]
    settings: Annotated[list[Setting], meaning("Of this manager.")]
