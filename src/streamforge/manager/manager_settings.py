"""The settings of queue-manager, read once from its environment.

A setting of the process (addresses, ports, logs, launcher, tokens) is a field here. One that says how the manager
treats workflows and stored data is a field of `Policy` in `policy.py`: limits and times, but also `retention_dir` and
`verify_repairs`. A setting that the workers must get too is passed on in `worker_environment` (`running_manager.py`),
one of the policy or of a step in `engine/lifecycle/job_spec.py`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated

import msgspec

from streamforge.manager.api.tokens import TokenSettings
from streamforge.manager.health.shown_settings import Setting, shown_settings
from streamforge.manager.persistence.installation import LEASE_S
from streamforge.manager.policy import Policy
from streamforge_utils.model.secret import Secret
from streamforge_utils.ports.job_settings import (
    KUBERNETES,
    LAUNCHER,
    OUT_OF_REACH,
    REACH_STEP,
    LauncherSettings,
)
from streamforge_utils.runtime.life.environment import (
    constant,
    misspelt,
    read,
    settings_error,
    variable,
    variables,
)
from streamforge_utils.runtime.life.object_settings import ObjectSettings
from streamforge_utils.runtime.life.settings import (
    CONTROL_TOPIC,
    EVENTS_TOPIC,
    ArchiveSettings,
    ControlTopic,
    DataSettings,
    EventsTopic,
    ExchangeSettings,
    LogFormat,
    MetricsHost,
    MetricsPort,
    Plugins,
    exchange_problems,
)
from streamforge_utils.runtime.live.stream_settings import StreamSettings

_USES = ("store", "exchange", "archive", "stream", "objects")
"""With Kubernetes only these uses count: its launcher requires no data directory."""

JOB_START_S = 300.0
"""How long a Job may take to begin: its image may have to be fetched first."""


STARTING_EACH = 4
"""So many workers start at once for each processor: one waits for files and locks, too."""


def usable_processors() -> int:
    """Of this machine those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class ManagerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """All that queue-manager reads from its environment."""

    data: DataSettings
    exchange: ExchangeSettings
    archive: ArchiveSettings = ArchiveSettings()
    stream: StreamSettings = StreamSettings()
    launcher: LauncherSettings = LauncherSettings()
    objects: ObjectSettings = ObjectSettings()
    plugins: Plugins = ""
    control_topic: ControlTopic = CONTROL_TOPIC
    events_topic: EventsTopic = EVENTS_TOPIC
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
    metrics_port: MetricsPort = None
    metrics_host: MetricsHost = "127.0.0.1"
    log_format: LogFormat = None
    debug: Annotated[
        bool, variable("STREAMFORGE_DEBUG", "log also what is only of use to find a fault, the workers too")
    ] = False
    base_policy: Policy = Policy()
    tokens: TokenSettings = TokenSettings()
    start_seconds: Annotated[
        Annotated[float, msgspec.Meta(gt=0)] | None,
        variable(
            "STREAMFORGE_START_SECONDS",
            "a worker that has not begun for this long is stopped, unless it waits for room in the cluster",
            unit="seconds",
            default="`STREAMFORGE_SILENT_SECONDS`; as a Job, which may have to fetch its image: 300",
        ),
    ] = None
    max_starting: Annotated[
        Annotated[int, msgspec.Meta(ge=1)] | None,
        variable(
            "STREAMFORGE_MAX_STARTING",
            "processes of workers that begin at once on this machine; others wait for their turn; Jobs of a cluster "
            "are not bounded",
            unit="processes",
            default="4 for each processor",
        ),
    ] = None
    lease_seconds: Annotated[
        float,
        msgspec.Meta(ge=1),
        variable(
            "STREAMFORGE_LEASE_SECONDS",
            "how long a manager on a store that others reach may be silent there before another one takes its place",
            unit="seconds",
        ),
    ] = LEASE_S
    shown: Annotated[tuple[Setting, ...], constant("these settings as others may see them")] = ()
    misspelt: Annotated[tuple[str, ...], constant("a sentence for each variable that is almost a setting")] = ()

    def problems(self) -> list[str]:
        """What does not go together, each with the variable to change."""
        found = self._worker_user_problems()
        if self.base_policy.retention and not (self.base_policy.retention_dir or self.objects.url):
            found.append(
                "STREAMFORGE_RETENTION_DIR is missing: nothing is dropped by STREAMFORGE_RETENTION unexported; name a "
                "folder there, or a bucket in STREAMFORGE_OBJECTS_URL"
            )
        return found

    @property
    def retained(self) -> ObjectSettings | None:
        """Where old collections are exported to; None: they are kept for ever."""
        policy = self.base_policy
        if not policy.retention:
            return None
        if policy.retention_dir is not None:
            return ObjectSettings(url=str(policy.retention_dir.absolute()))
        return msgspec.structs.replace(self.objects, url=f"{self.objects.url}/retention")

    def _worker_user_problems(self) -> list[str]:
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
    def warnings(self) -> list[str]:
        """Probable mistakes, which are logged at the start and are not fatal."""
        launcher, kafka = self.launcher, self.data.kafka
        if launcher.in_kubernetes and not kafka.bootstrap_servers and not launcher.kubernetes.data_claim:
            return [f"{OUT_OF_REACH.format(folder=self.data.data_dir)}: {REACH_STEP}"]
        return []

    @property
    def policy(self) -> Policy:
        """The numbers that the reconciler works with."""
        silent_s, start_s = self.base_policy.silent_after_s, self.start_seconds
        if start_s is None:
            start_s = max(JOB_START_S, silent_s) if self.launcher.in_kubernetes else silent_s
        starting = None if self.launcher.in_kubernetes else self.max_starting or STARTING_EACH * usable_processors()
        return msgspec.structs.replace(self.base_policy, start_within_s=start_s, max_starting=starting)


TOKEN = "STREAMFORGE_TOKEN"  # noqa: S105 - the name of a variable
"""The token that `streamforge` sends to a manager elsewhere; it is often set beside a manager's own settings."""


def misspelt_settings(environ: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that is almost one of the manager's, and would pass without effect."""
    own = {item.name for item in variables(ManagerSettings)}
    return misspelt(environ, own | {TOKEN})


def load_manager(environ: Mapping[str, str]) -> ManagerSettings:
    """Read the settings.

    Raises ConfigError naming every variable that is missing, wrong, or asks for what this version does not have.
    """
    problems: list[str] = []
    settings = read(ManagerSettings, environ, problems, uses=_USES if environ.get(LAUNCHER) == KUBERNETES else None)
    if settings is not None:
        problems += exchange_problems(
            settings.exchange.urls, settings.policy.weight_per_minute, "STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE"
        )
    if settings is None or problems:
        raise settings_error(problems)
    return msgspec.structs.replace(
        settings, shown=shown_settings(ManagerSettings, environ), misspelt=tuple(misspelt_settings(environ))
    )
