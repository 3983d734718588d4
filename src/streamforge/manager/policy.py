"""Timeouts, retry limits and capacity limits of the manager, each with the setting that changes it.

`engine/lifecycle/retry_policy.py` and `engine/lifecycle/decision.py` apply them.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import msgspec

from streamforge_utils.runtime.life.environment import constant, variable
from streamforge_utils.runtime.life.settings import DRAIN_S
from streamforge_utils.runtime.output.topic_specs import DATA_MAX_BYTES, DEAD_LETTERS_MAX_BYTES

CALL_EVERY_S = 30.0
DAY_MS = 86_400_000


class RetentionRule(msgspec.Struct, frozen=True):
    """Collections whose name matches `pattern` are kept until their newest record is `days` old."""

    pattern: str
    days: int

    setting_form = "PATTERN=DAYS"

    @classmethod
    def parse_setting(cls, text: str) -> RetentionRule:
        """Read `PATTERN=DAYS`, as in `*_1m_*=365`."""
        pattern, equals, days = text.rpartition("=")
        number = days.removesuffix("d")
        if not pattern or not equals or not number.isdecimal() or int(number) < 1:
            raise ValueError(f"{text[:80]!r} has not the form PATTERN=DAYS")
        return cls(pattern, int(number))


def _hours(text: str) -> float:
    """Hours in seconds. Raises ValueError."""
    hours: float = msgspec.convert(text, Annotated[float, msgspec.Meta(ge=0)], strict=False)
    return hours * 3600


_Positive = Annotated[float, msgspec.Meta(gt=0)]
_NotNegative = Annotated[float, msgspec.Meta(ge=0)]
_Count = Annotated[int, msgspec.Meta(ge=1)]


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """The manager's numbers, in seconds unless the name says otherwise: settings, and constants."""

    heartbeat_s: Annotated[
        _Positive,
        variable("STREAMFORGE_HEARTBEAT_SECONDS", "how often workers tell their progress", unit="seconds"),
    ] = 2.0
    stuck_after_s: Annotated[
        _Positive,
        variable("STREAMFORGE_STUCK_SECONDS", "a worker without progress for this long is stopped", unit="seconds"),
    ] = 120.0
    silent_after_s: Annotated[
        _Positive,
        variable("STREAMFORGE_SILENT_SECONDS", "a worker that says nothing for this long is stopped", unit="seconds"),
    ] = 30.0
    start_within_s: Annotated[
        float,
        constant("a job that has not begun for this long is stuck; STREAMFORGE_START_SECONDS and the launcher say it"),
    ] = 30.0
    orphan_after_s: Annotated[
        _NotNegative,
        variable(
            "STREAMFORGE_ORPHAN_SECONDS",
            "workers end by themselves after this time without a command (0: they continue); a manager that is "
            "back makes their attempts again",
            unit="seconds",
        ),
    ] = 300.0
    max_running: Annotated[
        _Count, variable("STREAMFORGE_MAX_RUNNING", "workflows that run at once; others wait", unit="workflows")
    ] = 8
    max_starting: Annotated[
        int | None,
        constant("processes of workers that begin at once; STREAMFORGE_MAX_STARTING and the launcher say it"),
    ] = None
    max_live: Annotated[int, constant("workflows that may be pending or running; more are refused for now")] = 10_000
    batch_live: Annotated[int, constant("workflows of one batch that may be pending or running; the others wait")] = 20
    weight_per_minute: Annotated[
        _Count,
        variable(
            "STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE",
            "request weight of the exchange that all loaders share",
            unit="weight per minute",
        ),
    ] = 4200  # 70 % of the exchange's limit for one address
    connects: Annotated[
        int,
        msgspec.Meta(ge=2, le=10_000),
        variable(
            "STREAMFORGE_TOTAL_CONNECTS",
            "connections to the exchange's streams that all loaders together may try to make in any five minutes; "
            "Binance allows an address 300",
            unit="connections in five minutes",
        ),
    ] = 150  # half of the exchange's limit: another program of the address may connect, too
    basket_size: Annotated[
        int,
        msgspec.Meta(ge=1, le=100),
        variable(
            "STREAMFORGE_BASKET_SIZE",
            "loaders of streams of one target that become one process, or one Job, if they begin within a moment of "
            "each other",
            unit="loaders",
        ),
    ] = 50
    stop_within_s: Annotated[
        _Positive,
        variable(
            "STREAMFORGE_STOP_SECONDS",
            "a worker asked to stop is given this long before its job is ended",
            unit="seconds",
        ),
    ] = 8.0
    kill_grace_s: Annotated[float, constant("between SIGTERM and SIGKILL, once the job is ended")] = 3.0
    drain_within_s: Annotated[
        _NotNegative,
        variable(
            "STREAMFORGE_DRAIN_SECONDS",
            "how long a sink may take, when its workflow stops, to store what its loaders have sent; what it has left "
            "it says, and a retry loads it",
            unit="seconds",
        ),
    ] = DRAIN_S
    live_stop_s: Annotated[
        _Positive,
        variable(
            "STREAMFORGE_LIVE_STOP_SECONDS",
            "within which a live workflow ends that is asked to stop, also where its store of records hangs; what is "
            "not stored by then it says, and a retry stores it",
            unit="seconds",
        ),
    ] = 5.0
    max_failures: Annotated[
        _Count, variable("STREAMFORGE_MAX_FAILURES", "attempts of a step that may fail before the workflow fails")
    ] = 3
    max_disruptions: Annotated[
        int,
        constant("attempts in a row that may be ended from outside without progress before that counts as a failure"),
    ] = 20
    max_repairs: Annotated[int, constant("rounds in which holes that are ours are loaded again")] = 5
    max_action_failures: Annotated[
        int, constant("tries of something that fails although bus, store, launcher and exchange answer")
    ] = 5
    max_asking_failures: Annotated[
        _Count,
        variable(
            "STREAMFORGE_MAX_ASKING_FAILURES",
            "how often in a row the exchange may fail to answer, before the start or for the proof, "
            "before the workflow fails",
        ),
    ] = 8
    backoff_first_s: Annotated[
        _Positive,
        variable("STREAMFORGE_BACKOFF_SECONDS", "the pause after the first failure; it doubles", unit="seconds"),
    ] = 1.0
    backoff_cap_s: Annotated[
        _Positive,
        variable("STREAMFORGE_BACKOFF_CAP_SECONDS", "the longest pause between failures", unit="seconds"),
    ] = 60.0
    compare_every_s: Annotated[
        _Positive,
        variable(
            "STREAMFORGE_COMPARE_SECONDS",
            "how often what a live workflow stores is compared with what there must be; with many of them less often",
            unit="seconds",
        ),
    ] = 5.0
    hole_grace_s: Annotated[
        _NotNegative,
        variable(
            "STREAMFORGE_HOLE_SECONDS",
            "how long a hole of a live workflow is left to its loader, before the manager loads it as history",
            unit="seconds",
        ),
    ] = 30.0
    handover_within_s: Annotated[
        _Positive,
        variable(
            "STREAMFORGE_HANDOVER_SECONDS",
            "how long an attempt of a live loader may take until it can take the place of the one that writes; then "
            "another one is tried",
            unit="seconds",
        ),
    ] = 300.0
    quiet_after_s: Annotated[
        float,
        constant("a live series of which nothing is stored for this long is asked about, and again after as long"),
    ] = 60.0
    topic_retention_s: Annotated[
        _NotNegative,
        variable("STREAMFORGE_TOPIC_RETENTION_SECONDS", "how long the data topic stays after the end", unit="seconds"),
    ] = 3600.0
    dlq_retention_s: Annotated[
        _NotNegative,
        variable("STREAMFORGE_DLQ_RETENTION_SECONDS", "how long dead letters stay", unit="seconds"),
    ] = 7 * 86400.0
    data_topic_max_bytes: Annotated[int, constant("cap of a data topic; beyond it the loader waits for the sink")] = (
        DATA_MAX_BYTES
    )
    dlq_max_bytes: Annotated[
        int, constant("cap of a topic of dead letters; a workflow that has more of them fails, and says so")
    ] = DEAD_LETTERS_MAX_BYTES
    verify_every_s: Annotated[
        float,
        variable(
            "STREAMFORGE_VERIFY_HOURS",
            "how often each series is counted in the store and compared with its coverage, while a manager stays "
            "(its first look comes after ten minutes; 0: never by itself)",
            unit="hours",
            default="168",
            check=_hours,
        ),
    ] = 7 * 86400.0
    verify_repairs: Annotated[
        bool,
        variable("STREAMFORGE_VERIFY_REPAIR", "load again by itself what such a verification misses in the store"),
    ] = False
    retention: Annotated[
        tuple[RetentionRule, ...],
        variable(
            "STREAMFORGE_RETENTION",
            "how many days collections are kept after their newest record, as in `*_1m_*=365,*=1825`: the first "
            "pattern that matches a name counts; what is older is exported, then dropped",
            unit="days",
            default="for ever",
        ),
    ] = ()
    segment_days: Annotated[
        Annotated[int, msgspec.Meta(ge=1)] | None,
        variable(
            "STREAMFORGE_SEGMENT_DAYS",
            "how many days segments of order books are kept after their newest diff; older ones are removed, and the "
            "books of their time are `expired`",
            unit="days",
            default="for ever",
        ),
    ] = None
    retention_dir: Annotated[
        Path | None,
        variable(
            "STREAMFORGE_RETENTION_DIR",
            "the folder that old collections are exported to before they are dropped (`NAME/TRY/00001.jsonl.gz`, …)",
            default="`retention` in `STREAMFORGE_OBJECTS_URL`",
        ),
    ] = None

    @property
    def call_every_s(self) -> float:
        """How often all workers are told that there is a manager."""
        return min(CALL_EVERY_S, self.orphan_after_s / 5) or CALL_EVERY_S

    @property
    def manager_weight_per_minute(self) -> int:
        """Request weight for the manager's own questions, beside the loaders'."""
        return max(60, self.weight_per_minute // 7)


def kept_ms(rules: Sequence[RetentionRule], collection: str) -> int | None:
    """How long the collection's records are kept, milliseconds; the first that matches counts. None: for ever."""
    for rule in rules:
        if fnmatchcase(collection, rule.pattern):
            return rule.days * DAY_MS
    return None
