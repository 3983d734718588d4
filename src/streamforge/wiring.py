"""The one place that turns settings into adapters; each is imported only when it is made."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import structs

from streamforge.version import installed_version
from streamforge_utils.model.errors import ConfigError, StreamForgeError
from streamforge_utils.model.secret import Secret
from streamforge_utils.ports.archive import Archive
from streamforge_utils.ports.clock import Clock, SystemClock
from streamforge_utils.ports.exchange import Exchange, History, Identity
from streamforge_utils.ports.instrumentation import NullObserver, Observer
from streamforge_utils.ports.object_store import ObjectStore
from streamforge_utils.ports.store import StateStore, Store
from streamforge_utils.ports.stream import Stream
from streamforge_utils.runtime.life.context import MessageBus
from streamforge_utils.runtime.life.environment import variables
from streamforge_utils.runtime.life.object_settings import ObjectSettings
from streamforge_utils.runtime.life.server_settings import KafkaSettings
from streamforge_utils.runtime.life.settings import (
    ArchiveSettings,
    DataSettings,
    ExchangeSettings,
    WorkerSettings,
    is_binance,
)
from streamforge_utils.runtime.live.stream_settings import StreamSettings

if TYPE_CHECKING:
    from streamforge_utils.adapters.embedded.backup import Backup
    from streamforge_utils.adapters.embedded.datadir import DataDirectory
    from streamforge_utils.adapters.kafka.kafka_connection import Connection, Login
    from streamforge_utils.adapters.kubernetes.examiner import KubernetesExaminer
    from streamforge_utils.adapters.kubernetes.manifest import Template
    from streamforge_utils.ports.job_settings import KubernetesSettings, LauncherSettings
    from streamforge_utils.ports.launcher import Launcher
    from streamforge_utils.ports.provisioning import Provisioner

FORK_SERVER = "--fork-server"
"""Lets the program of the workers be a fork server, on the socket of the number that follows."""
BUS, STORE, JOBS, ARCHIVE = "bus", "store", "jobs", "archive"
"""The folders of the embedded adapters inside the data directory."""


def make_bus(settings: DataSettings, *, clock: Clock | None = None, observer: Observer | None = None) -> MessageBus:
    """Kafka where the settings name its brokers, else the embedded bus on `DATA/bus`.

    Raises ConfigError or RetryableError.
    """
    clock, observer = clock or SystemClock(), observer or NullObserver()
    if settings.kafka.bootstrap_servers:
        from streamforge_utils.adapters.kafka.kafka_bus import KafkaBus

        return KafkaBus(_kafka_connection(settings.kafka), clock=clock, observer=observer)
    from streamforge_utils.adapters.embedded.bus.embedded_bus import EmbeddedBus

    return EmbeddedBus(settings.folder / BUS, clock=clock, observer=observer)


def _kafka_connection(settings: KafkaSettings) -> Connection:
    from streamforge_utils.adapters.kafka.kafka_connection import Connection, Login, Role

    def login(suffix: str, user: str, password: Secret | None) -> Login | None:
        if not user or password is None:
            return None
        return Login(
            user=user,
            password=password,
            user_setting=f"KAFKA_USER{suffix}",
            password_setting=f"KAFKA_PASSWORD{suffix}",
        )

    common = login("", settings.user, settings.password)
    producer = login("_PRODUCER", settings.user_producer, settings.password_producer) or common
    consumer = login("_CONSUMER", settings.user_consumer, settings.password_consumer) or common
    who = {Role.PRODUCER: producer, Role.CONSUMER: consumer, Role.ADMIN: common or producer}
    return Connection(
        bootstrap_servers=settings.bootstrap_servers,
        security_protocol=settings.protocol,
        sasl_mechanism=settings.sasl_mechanism,
        ca_path=settings.ca,
        ca_setting=settings.ca_setting,
        logins={role: found for role, found in who.items() if found is not None},
    )


def make_provisioner(
    settings: KafkaSettings, manifests: Path, *, secrets: Path, adopt: bool, rotate: Sequence[str] = ()
) -> Provisioner:
    """What applies the manifests of a folder to Kafka. secrets: where passwords lie. rotate: users to have another.

    Raises ConfigError.
    """
    from streamforge_utils.adapters.kafka_apply.provisioner import ManifestProvisioner

    return ManifestProvisioner(_kafka_connection(settings), manifests, secrets=secrets, adopt=adopt, rotate=rotate)


def make_store(settings: DataSettings, *, observer: Observer | None = None) -> Store:
    """ArangoDB where the settings name a server, else the embedded store on `DATA/store`.

    Raises ConfigError or RetryableError.
    """
    arango, observer = settings.arango, observer or NullObserver()
    if arango.url:
        from streamforge_utils.adapters.arango import ArangoStore, Connection, Transport

        connection = Connection(
            url=arango.url,
            database=arango.database,
            user=arango.user or None,
            password=arango.password,
            ca_path=arango.ca_path,
        )
        return ArangoStore(Transport(connection, observer=observer))
    from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore

    return EmbeddedStore(settings.folder / STORE, observer=observer)


class StorePlace(msgspec.Struct, frozen=True):
    """Where a store is, for people. elsewhere: how to choose another. shared: other machines and folders reach it."""

    where: str
    elsewhere: str
    shared: bool


def store_place(settings: DataSettings) -> StorePlace:
    """Where `make_store` would look."""
    if settings.arango.url:
        where = f"the database {settings.arango.database} at {settings.arango.url}"
        return StorePlace(where, "name another database with ARANGO_DB", shared=True)
    return StorePlace(str(settings.folder), "choose another folder with --data or STREAMFORGE_DATA_DIR", shared=False)


def make_object_store(settings: ObjectSettings, data: DataSettings) -> ObjectStore:
    """A bucket where the settings name one, else a folder, by default `DATA/objects`. Raises ConfigError."""
    if not settings.in_bucket:
        from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder

        return ObjectFolder(settings.folder_in(data.data_dir) or data.folder)  # which says that it is not set
    from streamforge_utils.adapters.object_storage.object_bucket import BucketPlace, Keys, ObjectBucket

    def keys() -> Keys:
        access, secret, token = settings.keys()
        return Keys(access_key=access, secret_key=secret, session_token=token)

    bucket, prefix = settings.bucket
    return ObjectBucket(
        BucketPlace(
            bucket=bucket,
            prefix=prefix,
            endpoint=settings.server,
            region=settings.region,
            path_style=settings.path_style,
            keys=keys,
            ca_path=settings.ca_path,
        )
    )


def make_exchange(
    settings: ExchangeSettings,
    *,
    clock: Clock | None = None,
    observer: Observer | None = None,
    identity: Identity | None = None,
) -> Exchange:
    """Binance, or what speaks as it does at the given URLs. Raises ConfigError.

    identity: which exchange must answer; by default the one that the settings name, if they do.
    """
    from streamforge_utils.adapters.binance import BinanceExchange, Retries, Transport

    transport = Transport(
        settings.urls,
        weight_limit=settings.weight_per_minute,
        clock=clock or SystemClock(),
        observer=observer or NullObserver(),
        api_key=settings.api_key,
        retries=Retries(
            attempts=settings.request_attempts,
            base_s=settings.request_backoff_seconds,
            timeout_s=settings.request_timeout_seconds,
        ),
        identity=Identity(settings.identity or None) if identity is None else identity,
    )
    return BinanceExchange(transport)


def make_archive(
    settings: ArchiveSettings,
    data: DataSettings,
    exchange: ExchangeSettings,
    *,
    history: History | None = None,
    clock: Clock | None = None,
    observer: Observer | None = None,
) -> Archive | None:
    """The archive that the settings name, or that of Binance where the exchange is Binance; None: there is none.

    history: where samples of a file with a wrong checksum are compared; without it, such a file is refused.
    Raises ConfigError.
    """
    if not settings.url and not is_binance(exchange.urls):
        return None
    import tempfile

    from streamforge_utils.adapters.binance.archive_cache import ArchiveCache
    from streamforge_utils.adapters.binance.archive_transport import ARCHIVE_URL, LISTING_URL, ArchiveTransport
    from streamforge_utils.adapters.binance.binance_archive import BinanceArchive

    clock, observer = clock or SystemClock(), observer or NullObserver()
    url = (settings.url or ARCHIVE_URL).rstrip("/")
    listing = LISTING_URL if url == ARCHIVE_URL else None
    folder = settings.cache_dir or (data.data_dir or Path(tempfile.gettempdir()) / "streamforge") / ARCHIVE
    return BinanceArchive(
        ArchiveTransport(url, listing, clock=clock, observer=observer),
        ArchiveCache(folder, settings.cache_bytes, clock=clock, observer=observer),
        clock=clock,
        history=history,
    )


def make_stream(
    settings: StreamSettings,
    exchange: ExchangeSettings,
    *,
    clock: Clock | None = None,
    observer: Observer | None = None,
) -> Stream:
    """The streams that the settings name, or those of the exchange. Raises ConfigError."""
    from streamforge_utils.adapters.binance.streams.binance_stream import BinanceStream
    from streamforge_utils.adapters.binance.streams.stream_address import stream_address

    return BinanceStream(
        stream_address(settings.url or settings.other_url, exchange.urls, settings.ca_path),
        connects=settings.connects,
        clock=clock or SystemClock(),
        observer=observer or NullObserver(),
    )


def make_data_directory(settings: DataSettings) -> DataDirectory:
    """The data directory: its format, and the lock of the one manager that holds it."""
    from streamforge_utils.adapters.embedded.datadir import DataDirectory

    return DataDirectory(settings.folder)


def topic_sizes(settings: DataSettings) -> dict[str, int]:
    """The bytes that each topic of the embedded bus takes, by its name."""
    from streamforge_utils.adapters.embedded.bus.files import TopicFiles

    return TopicFiles(settings.folder / BUS).sizes()


async def move_records(settings: DataSettings, said: Callable[[str], object] = lambda _: None) -> bool:
    """See `EmbeddedStore.move_all`; true where the settings name another store. For the holder of the folder's lock."""
    if settings.arango.url:
        return True
    from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore

    store = EmbeddedStore(settings.folder / STORE)
    try:
        return await store.move_all(said)
    finally:
        await store.close()


async def check_collections(settings: DataSettings, *, within_s: float) -> tuple[list[str], list[str], int]:
    """Read all collections of the embedded store, for so long. Raises ConfigError or RetryableError.

    Returns their names, why those that cannot be read cannot, and of how many the first document alone was read.
    """
    from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore

    store = EmbeddedStore(settings.folder / STORE)
    broken, partly, give_up = list[str](), 0, time.monotonic() + within_s
    try:
        names = list(await store.names())
        for name in names:
            try:
                await store.read(name, limit=1)
                left_s = give_up - time.monotonic()
                partly += left_s <= 0 or not await store.check(name, within_s=left_s)
            except StreamForgeError as error:
                broken.append(str(error))
        return names, broken, partly
    finally:
        await store.close()


def back_up(data: Path, target: Path, objects: ObjectSettings, *, made_at: str) -> Backup:
    """Copy the embedded bus, store and jobs in `data`, and the folder of objects, to the new folder `target`.

    Also while others work on them. made_at: ISO 8601, UTC. Raises InvalidInput, ConfigError or RetryableError.
    """
    from streamforge_utils.adapters.embedded import backup

    return backup.back_up(data, target, made_at=made_at, made_by=installed_version(), objects=objects.folder_in(data))


def restore(source: Path, data: Path) -> Backup:
    """Make the data directory `data` from a backup. Raises InvalidInput, ConfigError or RetryableError."""
    from streamforge_utils.adapters.embedded import backup

    return backup.restore(source, data)


def make_launcher(
    settings: DataSettings,
    launcher: LauncherSettings | None = None,
    *,
    store: StateStore | None = None,
    environment: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    observer: Observer | None = None,
) -> Launcher:
    """Jobs of a Kubernetes cluster where the settings say so, else processes `python -m streamforge.workers TARGET`.

    store: where the former remembers what became of its jobs. environment: what every job gets besides its own and
    `STREAMFORGE_DATA_DIR`. Raises ConfigError.
    """
    if launcher is not None and launcher.in_kubernetes:
        if store is None:
            raise ConfigError("the launcher on Kubernetes needs a store to remember what became of its jobs")
        from streamforge_utils.adapters.kubernetes.job_launcher import KubernetesLauncher

        template = make_template(settings, launcher.kubernetes, environment=environment)
        return KubernetesLauncher(template, store, clock=clock, observer=observer)
    from streamforge_utils.adapters.embedded.bus.files import LOCK_FILE
    from streamforge_utils.adapters.embedded.launcher.process_launcher import ProcessLauncher

    # -P: the folder in which the manager was started is no place to import from.
    workers = (sys.executable, "-P", "-m", "streamforge.workers")
    return ProcessLauncher(
        settings.folder / JOBS,
        command=lambda spec: (*workers, spec.target),
        fork_server=(*workers, FORK_SERVER),
        base_environment={"STREAMFORGE_DATA_DIR": str(settings.folder.absolute()), **(environment or {})},
        shared_files=(settings.folder / BUS / LOCK_FILE,),
        clock=clock,
    )


def serve_forks(descriptor: int, run: Callable[[Sequence[str]], int]) -> int:
    """Be the fork server of an embedded launcher, on its socket, with what a worker's process does; the exit code."""
    # What the workers would import, each for itself.
    from streamforge_utils.adapters import binance  # noqa: F401
    from streamforge_utils.adapters.embedded.bus import embedded_bus  # noqa: F401
    from streamforge_utils.adapters.embedded.launcher import fork_server
    from streamforge_utils.adapters.embedded.store import embedded_store  # noqa: F401

    return fork_server.serve(descriptor, run)


def make_template(
    settings: DataSettings, kubernetes: KubernetesSettings, *, environment: Mapping[str, str] | None = None
) -> Template:
    """What all Jobs have in common. environment: what every one gets besides its own variables."""
    from streamforge_utils.adapters.kubernetes.manifest import Template

    values = dict(environment or {})
    if settings.data_dir is not None:
        values["STREAMFORGE_DATA_DIR"] = str(settings.data_dir.absolute())
    template = Template(
        settings=kubernetes,
        version=f"v{installed_version()}",
        values=values,
        secret_names=frozenset(item.name for item in variables(WorkerSettings) if item.secret),
    )
    return structs.replace(template, namespace=kubernetes.namespace) if kubernetes.namespace else template


def make_examiner(
    settings: DataSettings, kubernetes: KubernetesSettings, *, environment: Mapping[str, str] | None = None
) -> KubernetesExaminer:
    """What tells whether Jobs could be run in the cluster that the settings name. environment: every worker's."""
    from streamforge_utils.adapters.kubernetes.examiner import KubernetesExaminer

    return KubernetesExaminer(make_template(settings, kubernetes), environment)
