"""The settings of queue-manager, read once from its environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from streamforge.manager.api.tokens import OPERATOR_TOKEN, READER_TOKEN, TOKENS_FILE
from streamforge.manager.persistence.installation import LEASE_S
from streamforge.manager.policy import Policy, RetentionRule
from streamforge_utils.runtime.environment import (
    Secret,
    misspelt,
    read,
    settings_error,
    variable,
    variables,
)
from streamforge_utils.runtime.kubernetes_settings import (
    KUBERNETES,
    LAUNCHER,
    OUT_OF_REACH,
    REACH_STEP,
    LauncherSettings,
)
from streamforge_utils.runtime.settings import (
    CONTROL_TOPIC,
    EVENTS_TOPIC,
    DataSettings,
    ExchangeSettings,
    Plugins,
    exchange_problems,
)

_USES = ("store", "exchange")
"""What the manager does where it starts no processes, whose files would need a data directory all the same."""

JOB_START_S = 300.0
"""How long a Job may take to begin: its image may have to be fetched first."""


class ManagerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What queue-manager reads."""

    data: DataSettings
    exchange: ExchangeSettings
    launcher: LauncherSettings = LauncherSettings()
    plugins: Plugins = ""
    control_topic: Annotated[str, variable("QUEUE_CONTROL_TOPIC", "the topic of commands")] = CONTROL_TOPIC
    events_topic: Annotated[str, variable("QUEUE_EVENTS_TOPIC", "the topic of events")] = EVENTS_TOPIC
    worker_kafka_user: Annotated[
        str,
        variable(
            "STREAMFORGE_WORKER_KAFKA_USER",
            "who the workers log in as at the brokers, so that they need not have the manager's rights",
            default="the manager's user or users",
        ),
    ] = ""
    worker_kafka_password: Annotated[
        Secret | None,
        variable("STREAMFORGE_WORKER_KAFKA_PASSWORD", "the password of `STREAMFORGE_WORKER_KAFKA_USER`"),
    ] = None
    host: Annotated[
        str, variable("STREAMFORGE_HOST", "the address that the API listens on; beyond loopback it needs tokens")
    ] = "127.0.0.1"
    port: Annotated[
        int, msgspec.Meta(ge=0, le=65535), variable("STREAMFORGE_PORT", "the port of the API; 0: any free one")
    ] = 8080
    metrics_port: Annotated[
        Annotated[int, msgspec.Meta(ge=0, le=65535)] | None,
        variable(
            "STREAMFORGE_METRICS_PORT",
            "the port of `/metrics`; 0: any free one",
            default="8000, or any free one if it is taken",
        ),
    ] = None
    metrics_host: Annotated[str, variable("STREAMFORGE_METRICS_HOST", "the address that `/metrics` listens on")] = (
        "127.0.0.1"
    )
    log_format: Annotated[
        Literal["json", "console"] | None,
        variable("STREAMFORGE_LOG_FORMAT", "the form of log lines", default="console on a terminal, else json"),
    ] = None
    debug: Annotated[
        bool, variable("STREAMFORGE_DEBUG", "log also what is only of use to find a fault, the workers too")
    ] = False
    heartbeat_seconds: Annotated[
        float,
        msgspec.Meta(gt=0),
        variable("STREAMFORGE_HEARTBEAT_SECONDS", "how often workers tell their progress", unit="seconds"),
    ] = Policy().heartbeat_s
    stuck_seconds: Annotated[
        float,
        msgspec.Meta(gt=0),
        variable("STREAMFORGE_STUCK_SECONDS", "a worker without progress for this long is stopped", unit="seconds"),
    ] = Policy().stuck_after_s
    silent_seconds: Annotated[
        float,
        msgspec.Meta(gt=0),
        variable("STREAMFORGE_SILENT_SECONDS", "a worker that says nothing for this long is stopped", unit="seconds"),
    ] = Policy().silent_after_s
    start_seconds: Annotated[
        Annotated[float, msgspec.Meta(gt=0)] | None,
        variable(
            "STREAMFORGE_START_SECONDS",
            "a worker that has not begun for this long is stopped, unless it waits for room in the cluster",
            unit="seconds",
            default="`STREAMFORGE_SILENT_SECONDS`; as a Job, which may have to fetch its image: 300",
        ),
    ] = None
    orphan_seconds: Annotated[
        float,
        msgspec.Meta(ge=0),
        variable(
            "STREAMFORGE_ORPHAN_SECONDS",
            "workers end by themselves when they were told nothing for this long (0: they go on); a manager that is "
            "back makes their attempts again",
            unit="seconds",
        ),
    ] = Policy().orphan_after_s
    max_running: Annotated[
        int,
        msgspec.Meta(ge=1),
        variable("STREAMFORGE_MAX_RUNNING", "workflows that run at once; others wait", unit="workflows"),
    ] = Policy().max_running
    total_weight_per_minute: Annotated[
        int,
        msgspec.Meta(ge=1),
        variable(
            "STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE",
            "request weight of the exchange that all loaders share",
            unit="weight per minute",
        ),
    ] = Policy().weight_per_minute
    stop_seconds: Annotated[
        float,
        msgspec.Meta(gt=0),
        variable(
            "STREAMFORGE_STOP_SECONDS",
            "a worker asked to stop is given this long before its job is ended",
            unit="seconds",
        ),
    ] = Policy().stop_within_s
    drain_seconds: Annotated[
        float,
        msgspec.Meta(ge=0),
        variable(
            "STREAMFORGE_DRAIN_SECONDS",
            "how long a sink may take, when its workflow stops, to store what its loaders have sent; what it has left "
            "it says, and a retry loads it",
            unit="seconds",
        ),
    ] = Policy().drain_within_s
    max_failures: Annotated[
        int,
        msgspec.Meta(ge=1),
        variable("STREAMFORGE_MAX_FAILURES", "attempts of a step that may fail before the workflow fails"),
    ] = Policy().max_failures
    max_asking_failures: Annotated[
        int,
        msgspec.Meta(ge=1),
        variable(
            "STREAMFORGE_MAX_ASKING_FAILURES",
            "how often in a row the exchange may fail to answer, before the start or for the proof, "
            "before the workflow fails",
        ),
    ] = Policy().max_asking_failures
    backoff_seconds: Annotated[
        float,
        msgspec.Meta(gt=0),
        variable("STREAMFORGE_BACKOFF_SECONDS", "the pause after the first failure; it doubles", unit="seconds"),
    ] = Policy().backoff_first_s
    backoff_cap_seconds: Annotated[
        float,
        msgspec.Meta(gt=0),
        variable("STREAMFORGE_BACKOFF_CAP_SECONDS", "the longest pause between failures", unit="seconds"),
    ] = Policy().backoff_cap_s
    topic_retention_seconds: Annotated[
        float,
        msgspec.Meta(ge=0),
        variable("STREAMFORGE_TOPIC_RETENTION_SECONDS", "how long the data topic stays after the end", unit="seconds"),
    ] = Policy().topic_retention_s
    dlq_retention_seconds: Annotated[
        float,
        msgspec.Meta(ge=0),
        variable("STREAMFORGE_DLQ_RETENTION_SECONDS", "how long dead letters stay", unit="seconds"),
    ] = Policy().dlq_retention_s
    lease_seconds: Annotated[
        float,
        msgspec.Meta(ge=1),
        variable(
            "STREAMFORGE_LEASE_SECONDS",
            "how long a manager on a store that others reach may be silent there before another one takes its place",
            unit="seconds",
        ),
    ] = LEASE_S
    verify_hours: Annotated[
        float,
        msgspec.Meta(ge=0),
        variable(
            "STREAMFORGE_VERIFY_HOURS",
            "how often each series is counted in the store and compared with its coverage, while a manager stays "
            "(its first look comes after ten minutes; 0: never by itself)",
            unit="hours",
        ),
    ] = Policy().verify_every_s / 3600
    verify_repair: Annotated[
        bool,
        variable("STREAMFORGE_VERIFY_REPAIR", "load again by itself what such a verification misses in the store"),
    ] = Policy().verify_repairs
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
    retention_dir: Annotated[
        Path | None,
        variable(
            "STREAMFORGE_RETENTION_DIR",
            "the folder that old collections are exported to before they are dropped (`NAME.jsonl.gz`)",
        ),
    ] = None

    def problems(self) -> list[str]:
        """What does not go together, each with the variable to change."""
        found = self._worker_problems()
        if self.retention and self.retention_dir is None:
            found.append("STREAMFORGE_RETENTION_DIR is missing: nothing is dropped by STREAMFORGE_RETENTION unexported")
        return found

    @property
    def doubts(self) -> list[str]:
        """What may be right, but mostly is not: said at the start, and gone on."""
        launcher, kafka = self.launcher, self.data.kafka
        if launcher.in_kubernetes and not kafka.bootstrap_servers and not launcher.kubernetes.data_claim:
            return [f"{OUT_OF_REACH.format(folder=self.data.data_dir)}: {REACH_STEP}"]
        return []

    def _worker_problems(self) -> list[str]:
        user, password = "STREAMFORGE_WORKER_KAFKA_USER", "STREAMFORGE_WORKER_KAFKA_PASSWORD"
        if self.launcher.in_kubernetes and (self.worker_kafka_user or self.worker_kafka_password):
            # One way: a password that the manager knows gets into no manifest, so it would have to be named there too.
            return [
                f"{user} and {password} are for workers that are processes: in a cluster name the user in "
                "STREAMFORGE_K8S_WORKER_ENV (KAFKA_USER=NAME) and its password in STREAMFORGE_K8S_SECRET_ENV "
                "(KAFKA_PASSWORD=SECRET/KEY)"
            ]
        if not self.worker_kafka_user:
            return [f"{user} is missing: {password} is set"] if self.worker_kafka_password else []
        if not self.data.kafka.bootstrap_servers:
            return [f"{user} is set, but KAFKA_BOOTSTRAP_SERVERS is not: name the brokers there, or unset {user}"]
        if not self.data.kafka.protocol.startswith("SASL_"):
            return [f"{user} is set, but KAFKA_USER is not: the manager logs in at the same brokers; set both or none"]
        return [] if self.worker_kafka_password else [f"{password} is missing: {user} has a password"]

    @property
    def _start_within_s(self) -> float:
        if self.start_seconds is not None:
            return self.start_seconds
        return max(JOB_START_S, self.silent_seconds) if self.launcher.in_kubernetes else self.silent_seconds

    @property
    def policy(self) -> Policy:
        """The numbers that the reconciler works with."""
        return Policy(
            heartbeat_s=self.heartbeat_seconds,
            orphan_after_s=self.orphan_seconds,
            call_every_s=min(Policy().call_every_s, self.orphan_seconds / 5) or Policy().call_every_s,
            stuck_after_s=self.stuck_seconds,
            silent_after_s=self.silent_seconds,
            start_within_s=self._start_within_s,
            stop_within_s=self.stop_seconds,
            drain_within_s=self.drain_seconds,
            max_failures=self.max_failures,
            max_asking_failures=self.max_asking_failures,
            backoff_first_s=self.backoff_seconds,
            backoff_cap_s=self.backoff_cap_seconds,
            max_running=self.max_running,
            weight_per_minute=self.total_weight_per_minute,
            manager_weight_per_minute=max(60, self.total_weight_per_minute // 7),
            topic_retention_s=self.topic_retention_seconds,
            dlq_retention_s=self.dlq_retention_seconds,
            verify_every_s=self.verify_hours * 3600,
            verify_repairs=self.verify_repair,
            retention=self.retention,
            retention_dir=self.retention_dir,
        )


TOKEN = "STREAMFORGE_TOKEN"  # noqa: S105 - the name of a variable
"""What `streamforge` shows a manager elsewhere; it often stands beside a manager's own settings."""


def misspelt_settings(environ: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that is almost one of the manager's, and would pass without effect."""
    own = {item.name for item in variables(ManagerSettings)}
    return misspelt(environ, own | {TOKENS_FILE, READER_TOKEN, OPERATOR_TOKEN, TOKEN})


def load_manager(environ: Mapping[str, str]) -> ManagerSettings:
    """Read the settings.

    Raises ConfigError naming every variable that is missing, wrong, or asks for what this version does not have.
    """
    problems: list[str] = []
    settings = read(ManagerSettings, environ, problems, uses=_USES if environ.get(LAUNCHER) == KUBERNETES else None)
    if settings is not None:
        problems += exchange_problems(
            settings.exchange.urls, settings.total_weight_per_minute, "STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE"
        )
    if settings is None or problems:
        raise settings_error(problems)
    return settings
