"""How patient the manager is, and how much it starts: its numbers in one place."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from streamforge_utils.runtime.settings import DRAIN_S
from streamforge_utils.runtime.topic_specs import DATA_MAX_BYTES, DEAD_LETTERS_MAX_BYTES

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


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds unless the name says otherwise."""

    heartbeat_s: float = 2.0
    """What workers are told: how often to say how far they are."""
    call_every_s: float = 30.0
    """How often all workers are told that there is a manager."""
    orphan_after_s: float = 300.0
    """A worker that was told nothing for this long ends by itself; its attempt is made again when a manager is back."""
    start_within_s: float = 30.0
    """A job that has not said `started` after this is stuck."""
    silent_after_s: float = 30.0
    """A worker that has said nothing for this long is stuck."""
    stuck_after_s: float = 120.0
    """A worker whose progress has not changed for this long, and who waits for nothing, is stuck."""
    stop_within_s: float = 8.0
    """A worker asked to stop is given this long before its job is ended."""
    drain_within_s: float = DRAIN_S
    """A sink is given this long on top to store what its loaders sent before they ended."""
    kill_grace_s: float = 3.0
    """Between SIGTERM and SIGKILL, once the job is ended."""
    max_failures: int = 3
    """Attempts of a step in a row that may fail by themselves before the workflow fails."""
    max_disruptions: int = 20
    """Attempts in a row that may be ended from outside without progress before that counts as a failure."""
    backoff_first_s: float = 1.0
    backoff_cap_s: float = 60.0
    max_repairs: int = 5
    """Rounds in which holes that are ours are loaded again."""
    max_asking_failures: int = 8
    """Tries to ask the exchange before the start, or for the proof."""
    max_action_failures: int = 5
    """Tries of something that fails although bus, store, launcher and exchange answer."""
    topic_retention_s: float = 3600.0
    """How long the data topic of an ended workflow stays."""
    dlq_retention_s: float = 7 * 86400.0
    """How long a topic of dead letters stays."""
    max_running: int = 8
    """Workflows that run at once; others wait as `pending`."""
    max_live: int = 10_000
    """Workflows that may be pending or running; more are refused for now."""
    weight_per_minute: int = 4200
    """Request weight for all loaders together: 70 % of the exchange's limit for one address."""
    manager_weight_per_minute: int = 600
    """Request weight for the manager's own questions, beside the loaders'."""
    data_topic_max_bytes: int = DATA_MAX_BYTES
    """Cap of a data topic; beyond it the loader waits for the sink."""
    verify_every_s: float = 7 * 86400.0
    """How often what coverage calls stored is counted in the store; 0: only when somebody asks for it."""
    verify_repairs: bool = False
    """Whether what a verification misses is loaded again."""
    retention: tuple[RetentionRule, ...] = ()
    """How long records are kept; without a match for ever."""
    retention_dir: Path | None = None
    """Where what is too old is exported to before it is dropped."""
    dlq_max_bytes: int = DEAD_LETTERS_MAX_BYTES
    """Cap of a topic of dead letters; a workflow that has more of them fails, and says so."""


def kept_ms(rules: Sequence[RetentionRule], collection: str) -> int | None:
    """How long the collection's records are kept, milliseconds; the first that matches counts. None: for ever."""
    for rule in rules:
        if fnmatchcase(collection, rule.pattern):
            return rule.days * DAY_MS
    return None
