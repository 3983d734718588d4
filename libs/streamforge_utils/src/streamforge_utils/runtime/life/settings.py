"""The settings of a worker, read once from its environment."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from streamforge_utils.model.errors import ConfigError
from streamforge_utils.model.secret import Secret
from streamforge_utils.model.series import check_symbol
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.model.topic_reading import PartitionRange, Until, Upstream
from streamforge_utils.plugins import PLUGINS
from streamforge_utils.runtime.input.dead_letter_replay import ReplaySettings
from streamforge_utils.runtime.life.environment import variable
from streamforge_utils.runtime.life.object_settings import ObjectSettings
from streamforge_utils.runtime.life.server_settings import ArangoSettings, KafkaSettings
from streamforge_utils.runtime.live.stream_settings import StreamSettings
from streamforge_utils.runtime.sink.collection_settings import CollectionSettings

CONTROL_TOPIC = "queue-control"
EVENTS_TOPIC = "queue-events"
ControlTopic = Annotated[str, variable("QUEUE_CONTROL_TOPIC", "the topic of commands")]
EventsTopic = Annotated[str, variable("QUEUE_EVENTS_TOPIC", "the topic of events")]
SampledFiles = Literal["some", "all", "none"]
BINANCE_DATA_URL = "https://data-api.binance.vision"
Plugins = Annotated[
    str,
    variable(
        PLUGINS,
        "files of kinds of records and workers that are not part of StreamForge: paths of `.py` files or of folders "
        "that hold them, with commas between",
    ),
]
MetricsPort = Annotated[
    Annotated[int, msgspec.Meta(ge=0, le=65535)] | None,
    variable(
        "STREAMFORGE_METRICS_PORT",
        "the port of `/metrics`; 0: any free one",
        default="8000, or any free one if it is taken",
    ),
]
MetricsHost = Annotated[str, variable("STREAMFORGE_METRICS_HOST", "the address that `/metrics` listens on")]
LogFormat = Annotated[
    Literal["json", "console"] | None,
    variable("STREAMFORGE_LOG_FORMAT", "the form of log lines", default="console on a terminal, else json"),
]
DRAIN_S = 60.0
"""A sink stores a full data topic in less than this."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")

BINANCE_HOSTS = (".binance.com", ".binance.vision", ".binance.us")
BINANCE_WEIGHT_PER_MINUTE = 6000
"""What Binance allows one address a minute; only another exchange (a test exchange) may be asked for more."""


def exchange_problems(urls: Sequence[str], weight_per_minute: int, weight_name: str) -> list[str]:
    """What is wrong with how the exchange is to be asked. weight_name: the variable that gave the weight.

    A URL with a user or a password is not repeated: it would be in the log.
    """
    problems = []
    hosts = []
    for url in urls:
        try:
            parts = urlsplit(url)
            hosts.append(parts.hostname or "")
        except ValueError:
            continue  # it is refused, and named, where it is used
        if "@" in parts.netloc:
            problems.append(
                "STREAMFORGE_EXCHANGE_URL: it holds a user or a password, which everybody on the machine could read: "
                "leave them out"
            )
    if weight_per_minute > BINANCE_WEIGHT_PER_MINUTE and any(map(_of_binance, hosts)):
        problems.append(
            f"{weight_name}: {weight_per_minute} is more than the {BINANCE_WEIGHT_PER_MINUTE} a minute that Binance "
            "allows one address, which would be banned: lower it"
        )
    return problems


def is_binance(urls: Sequence[str]) -> bool:
    """Whether these are base URLs of Binance."""
    try:
        return any(_of_binance(urlsplit(url).hostname or "") for url in urls)
    except ValueError:
        return False


def _of_binance(host: str) -> bool:
    return f".{host}".endswith(BINANCE_HOSTS)


def check_word(text: str) -> str:
    """`text` itself. Raises ValueError if no bus and no launcher would take it as a name."""
    if _NAME.fullmatch(text) is None:
        raise ValueError("it holds other than letters, digits and `._-`, or is too long")
    return text


class DataSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The folder of the embedded bus, store and launcher; Kafka and ArangoDB, where these are used instead."""

    data_dir: Annotated[
        Path | None,
        variable(
            "STREAMFORGE_DATA_DIR",
            "where the embedded bus and store keep their files",
            required=True,
            unless="KAFKA_BOOTSTRAP_SERVERS",
            even_for="store",
            even_unless="ARANGO_URL",
        ),
    ] = None
    kafka: KafkaSettings = KafkaSettings()
    arango: ArangoSettings = ArangoSettings()

    @property
    def folder(self) -> Path:
        """Where the embedded adapters keep their files. Raises ConfigError where it is not set."""
        if self.data_dir is None:
            raise ConfigError(
                "STREAMFORGE_DATA_DIR is missing: name the folder where the embedded store keeps its files"
            )
        return self.data_dir


class ExchangeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the exchange is reached."""

    urls: Annotated[
        tuple[str, ...],
        variable(
            "STREAMFORGE_EXCHANGE_URL",
            "base URLs of the exchange; the next one is used where one does not answer",
            only="exchange",
        ),
    ] = (BINANCE_DATA_URL,)
    identity: Annotated[
        str,
        variable(
            "STREAMFORGE_EXCHANGE_IDENTITY",
            "which test exchange must answer, as it names itself; empty: any. The manager sets it for its workers",
            only="exchange",
        ),
    ] = ""
    weight_per_minute: Annotated[
        int,
        msgspec.Meta(ge=1),
        variable(
            "STREAMFORGE_WEIGHT_PER_MINUTE",
            "share of the exchange's request weight that this worker may use; the command `budget` changes it",
            unit="weight per minute",
            only="exchange",
        ),
    ] = 1200
    request_attempts: Annotated[
        int,
        msgspec.Meta(ge=1),
        variable(
            "STREAMFORGE_REQUEST_ATTEMPTS",
            "how often one request to the exchange is sent before it counts as failed",
            only="exchange",
        ),
    ] = 6
    request_backoff_seconds: Annotated[
        float,
        msgspec.Meta(ge=0),
        variable(
            "STREAMFORGE_REQUEST_BACKOFF_SECONDS",
            "half of the longest pause after a request's first failure; it doubles with each further one",
            unit="seconds",
            only="exchange",
        ),
    ] = 0.5
    request_timeout_seconds: Annotated[
        float,
        msgspec.Meta(gt=0),
        variable(
            "STREAMFORGE_REQUEST_TIMEOUT_SECONDS",
            "how long one answer of the exchange is waited for; it gives up after 10 s itself",
            unit="seconds",
            only="exchange",
        ),
    ] = 15.0
    api_key: Annotated[
        Secret | None,
        variable("BINANCE_API_KEY", "key sent with the requests; market data needs none", only="exchange"),
    ] = None


class ArchiveSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the exchange's files of past days are, and where they are kept."""

    url: Annotated[
        str,
        variable(
            "STREAMFORGE_ARCHIVE_URL",
            "base URL of the archive; a test exchange has its own at its base URL",
            default="that of Binance where the exchange is Binance, else there is no archive",
            only="archive",
        ),
    ] = ""
    cache_bytes: Annotated[
        int,
        msgspec.Meta(ge=1_000_000),
        variable(
            "STREAMFORGE_ARCHIVE_CACHE_BYTES",
            "bytes of downloaded files that are kept; what was not used for the longest time makes room; in a "
            "Kubernetes Job it follows from `STREAMFORGE_K8S_ARCHIVE_CACHE`",
            unit="bytes",
            only="archive",
        ),
    ] = 8_000_000_000
    cache_dir: Annotated[
        Path | None,
        variable(
            "STREAMFORGE_ARCHIVE_CACHE_DIR",
            "where they are kept; the workers of a machine share it",
            default="`archive` in `STREAMFORGE_DATA_DIR`, without that in the folder of temporary files",
            only="archive",
        ),
    ] = None

    samples: Annotated[
        SampledFiles,
        variable(
            "STREAMFORGE_ARCHIVE_SAMPLES",
            "which files with a right checksum are compared with the exchange at a few places: `some` of a load, one "
            "request for each 2,000 that its files save; `all`, with two requests for a file",
            only="archive",
        ),
    ] = "some"


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What every worker reads. `load_worker` reads and checks it."""

    queue_id: Annotated[str, variable("QUEUE_ID", "the workflow that the worker belongs to", check=check_word)]
    symbol: Annotated[
        str, variable("SYMBOL", "the symbol as the exchange spells it, e.g. `BTCUSDT`", check=check_symbol)
    ]
    type: Annotated[str, variable("TYPE", "what is loaded, e.g. `api_candles_1m`", check=check_word)]
    time_range: Annotated[
        TimeRange, variable("TIME_RANGE", "the half-open time range of the workflow, UTC; a live `TYPE` needs none")
    ]
    interval: Annotated[
        str, variable("INTERVAL", "the interval of a `TYPE` that has one; must agree with it", default="that of `TYPE`")
    ] = ""
    kafka_topic: Annotated[str, variable("KAFKA_TOPIC", "the data topic")]
    collection_name: Annotated[
        str, variable("COLLECTION_NAME", "the collection that receives the records", only="store", required=True)
    ] = ""
    telemetry_id: Annotated[
        str,
        variable("TELEMETRY_PRODUCER_ID", "the worker's name in its events", default="`TARGET__` and the queue's code"),
    ] = ""
    control_topic: ControlTopic = CONTROL_TOPIC
    events_topic: EventsTopic = EVENTS_TOPIC
    attempt: Annotated[
        int, msgspec.Meta(ge=1), variable("STREAMFORGE_ATTEMPT", "which attempt of the step this process is")
    ] = 1
    launched_at: Annotated[
        float | None,
        variable(
            "STREAMFORGE_LAUNCHED_AT",
            "when the step was launched: commands sent since then (less 5 s for clock skew) are obeyed",
            unit="unix seconds",
            default="the process's start",
        ),
    ] = None
    data: DataSettings
    exchange: ExchangeSettings
    archive: ArchiveSettings = ArchiveSettings()
    stream: StreamSettings = StreamSettings()
    objects: ObjectSettings = ObjectSettings()
    collections: CollectionSettings = CollectionSettings()
    plugins: Plugins = ""
    upstream: Annotated[
        tuple[Upstream, ...],
        variable(
            "STREAMFORGE_UPSTREAM",
            "the producers whose end-of-stream marker ends the input, and the least attempt that counts",
            only="input",
            required=True,
            unless="STREAMFORGE_REPLAY STREAMFORGE_UNTIL",
        ),
    ] = ()
    until: Annotated[
        Until | None,
        variable(
            "STREAMFORGE_UNTIL",
            "what ends the reading of a topic that no loader of ours closes: where it ends at the start, a command, so "
            "many messages, or the end-of-stream marker of each producer that is named",
            only="input",
            default="the marker of every `STREAMFORGE_UPSTREAM`",
        ),
    ] = None
    offsets: Annotated[
        tuple[PartitionRange, ...],
        variable(
            "STREAMFORGE_OFFSETS",
            "with `STREAMFORGE_UNTIL`: where the partitions began and ended when the workflow did",
            only="input",
            default="as they are at the start",
        ),
    ] = ()
    group: Annotated[
        str | None,
        variable(
            "STREAMFORGE_GROUP",
            "the consumer group of the data topic",
            only="input",
            default="`QUEUE_ID-TARGET`",
            check=check_word,
        ),
    ] = None
    dead_letters: Annotated[
        str | None,
        variable(
            "STREAMFORGE_DEAD_LETTERS",
            "the topic of dead letters",
            only="input",
            default="`KAFKA_TOPIC-dlq`",
            check=check_word,
        ),
    ] = None
    replay: ReplaySettings = ReplaySettings()
    downstream: Annotated[
        tuple[str, ...],
        variable(
            "STREAMFORGE_DOWNSTREAM", "consumer groups of the data topic whose lag the worker reports", only="output"
        ),
    ] = ()
    ranges: Annotated[
        tuple[TimeRange, ...],
        variable(
            "STREAMFORGE_RANGES",
            "the parts of `TIME_RANGE` to load, where not all of it",
            only="output",
            default="`TIME_RANGE`",
        ),
    ] = ()
    first_id: Annotated[
        Annotated[int, msgspec.Meta(ge=0)] | None,
        variable(
            "STREAMFORGE_FIRST_ID",
            "the id from which on the first of them is loaded, of a kind that has ids; records before it are there",
            only="output",
            default="asked for by time",
        ),
    ] = None
    heartbeat_seconds: Annotated[
        float,
        msgspec.Meta(gt=0),
        variable("STREAMFORGE_HEARTBEAT_SECONDS", "how often the worker reports its progress", unit="seconds"),
    ] = 2.0
    stop_grace_seconds: Annotated[
        float,
        msgspec.Meta(gt=0),
        variable("STREAMFORGE_STOP_GRACE_SECONDS", "within which a stopped worker ends in order", unit="seconds"),
    ] = 5.0
    drain_seconds: Annotated[
        float,
        msgspec.Meta(ge=0),
        variable(
            "STREAMFORGE_DRAIN_SECONDS",
            "how long a stopped sink may take to store what its loaders have sent; it reports how much it has left",
            unit="seconds",
            only="input",
        ),
    ] = DRAIN_S
    orphan_seconds: Annotated[
        float,
        msgspec.Meta(ge=0),
        variable(
            "STREAMFORGE_ORPHAN_SECONDS",
            "a worker that gets no command for this long has lost its manager, and ends; 0: it continues",
            unit="seconds",
        ),
    ] = 0.0
    metrics_port: MetricsPort = None
    metrics_host: MetricsHost = "127.0.0.1"
    log_format: LogFormat = None
    debug: Annotated[
        bool, variable("STREAMFORGE_DEBUG", "log also what is only of use to find a fault; `DEBUG` too")
    ] = False
