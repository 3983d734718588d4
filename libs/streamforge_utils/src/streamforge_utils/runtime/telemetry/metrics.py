"""Prometheus metrics of one process: the registry, what adapters report, and the port that serves them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from streamforge_utils.model.errors import ConfigError
from streamforge_utils.ports.instrumentation import DerivedMetric

DEFAULT_PORT = 8000
_REQUEST_LIMIT_S = 5.0
_LOOK_S = 0.5
"""How often the server looks whether it is to end, where nothing wakes it: each look costs a worker at rest."""

HELP: dict[str, str] = {
    "records": "Records confirmed by the bus (loaders) or answered for by the store (sinks).",
    "events": "Events sent.",
    "commands": "Commands read; unknown, foreign and invalid ones among them.",
    "dead_letters": "Records written to the dead-letter topic.",
    "store_documents": "Documents by the store's answer.",
    "bus_messages_sent": "Messages confirmed by the bus.",
    "bus_messages_received": "Messages read from the bus.",
    "store_write_seconds": "Seconds that the store took for all documents so far.",
    "store_retries": "Requests to the store sent again.",
    "store_used_bytes": "Bytes that the data take in the store.",
    "store_limit_bytes": "Bytes at which the store itself stops taking more, where it does (licence).",
    "store_measured_timestamp_seconds": "When these sizes were last measured, unix seconds.",
    "store_growth_bytes_per_day": "Bytes by which the data grow in a day, over a week, without removals of a tenth.",
    "store_full_timestamp_seconds": "When the limit is reached if it goes on so, unix seconds; 0: not in sight.",
    "retention_collections": "Old collections exported and dropped.",
    "retention_records": "Records of old collections exported and dropped.",
    "retention_segments": "Old segments of order books removed.",
    "removed_records": "Records removed: with their workflow, or as a second copy.",
    "verified_records": "Records that coverage calls stored, each looked for in the store.",
    "missing_records": "Of the verified records, those that were not in the store.",
    "verification_repairs": "Workflows that the manager started to load again what was gone.",
    "bus_read_errors": "Errors that the bus's client met while it read.",
    "store_seconds": "Seconds that the store took for one batch.",
    "batch_records": "Records in one batch, read or written.",
    "wal_copy_failures": "Write-ahead logs of embedded files that could not be copied beside their writer.",
    "waiting_seconds": "Seconds spent waiting.",
    "retries": "Calls repeated after a failure.",
    "lag_records": "Records still to be read: by this sink, or by the slowest reader of this loader.",
    "share": "Share of the work that is done, 0 to 1, where the end is known.",
    "heartbeat_age_seconds": "Seconds since the last event was confirmed by the bus.",
    "exchange_requests": "Requests to the exchange.",
    "exchange_errors": "Answers of the exchange that are errors; code: the exchange's own.",
    "exchange_wait_seconds": "Seconds spent waiting before requests.",
    "exchange_address_weight": "Request weight used in the current minute by this address, as the exchange counts it.",
    "exchange_retries": "Requests to the exchange sent again.",
    "exchange_rows_dropped": "Rows of the exchange's answers that were left out.",
    "exchange_banned_until_seconds": "Until when the exchange has banned this address, unix seconds.",
    "exchange_clock_difference_seconds": "Seconds by which the exchange's clock is ahead of this machine's.",
    "exchange_clock_disagreements": "Answers of the exchange with two different times.",
    "stream_connects": "Connections to the exchange's streams that were tried, and how that ended.",
    "stream_ends": "Connections to the exchange's streams that ended, and why.",
    "stream_pauses": "Times that nothing more was received of a stream, as nobody read what had come.",
    "bus_messages_skipped": "Messages that were gone before they were read.",
    "kubernetes_requests": "Requests to the API server.",
    "kubernetes_watches": "Watches of the API server that ended, and how.",
    "live_workflows": "Live workflows by state: syncing, live, behind, suspect.",
    "live_frame_age_seconds": "Of all live workflows, the longest time since a frame of any kind came.",
    "live_proven_age_seconds": "Of the live workflows that are not syncing, how long ago the least proven one ends.",
    "live_open_holes": "Holes of live workflows that are not filled yet.",
    "live_late_seconds": "Age of the last frame, or of what is proven, of a series that is late; of the 20 most late.",
    "launcher_unseen_seconds": "For how long the launcher has had no news of its jobs, 0 while it has.",
    "events_heard": "Events of workers that the manager read.",
    "events_foreign": "Events of workflows that are not this manager's.",
    "events_malformed": "Messages on the events topic that are no events.",
    "events_repeated": "Events read a second time.",
    "workflow_changes": "Workflows that came into a status.",
    "workflow_failures": "Times that one workflow could not be moved on.",
    "reconcile_failures": "Times that the manager's loop failed as a whole.",
    "action_failures": "Actions for workflows that failed.",
    "orphans_ended": "Jobs ended that no workflow asked for.",
    "schedule_runs": "Runs of schedules that ended, and how.",
    "schedule_failures": "Times that schedules could not be looked at.",
    "schedule_overdue_seconds": "For how long a fire time of a schedule has passed without a run; 0: none has.",
    "schedule_last_success_timestamp_seconds": "When a run of a schedule last ended without a failure, unix seconds.",
}
_SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_RECORDS = (1, 10, 50, 100, 250, 500, 1000, 2500, 5000, 10_000)


class Metrics:
    """Metric families `streamforge_*`, each with the label `target`; made on first use.

    A family has one set of label names; a report with another one is dropped, never an error. It is an `Observer`
    save for the waiting, which `waits` receives. derived: what the worker counts beside them.
    """

    def __init__(
        self,
        target: str,
        waits: Callable[[str | None, int | None], None] | None = None,
        derived: Sequence[DerivedMetric] = (),
    ) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._target = target
        self._waits = waits
        self._families: dict[str, tuple[Counter | Gauge | Histogram, frozenset[str]]] = {}
        self._lock = threading.Lock()
        self._derived = [(metric.of, _DerivedFamily(metric, self.registry)) for metric in derived]

    def count(self, name: str, amount: float = 1, /, **labels: str) -> None:
        """Add to a counter."""
        family = self._family(Counter, name, labels)
        if isinstance(family, Counter):
            family.labels(target=self._target, **labels).inc(amount)
        for followed, follower in self._derived:
            if followed == name:
                follower.follow(amount, labels)

    def gauge(self, name: str, value: float, /, **labels: str) -> None:
        """Set a gauge."""
        family = self._family(Gauge, name, labels)
        if isinstance(family, Gauge):
            family.labels(target=self._target, **labels).set(value)

    def forget(self, name: str, /, **labels: str) -> None:
        """Show a gauge with these labels no longer; one that is not shown is no error."""
        family = self._family(Gauge, name, labels)
        if isinstance(family, Gauge):
            with suppress(KeyError):
                family.remove(self._target, *(value for _, value in sorted(labels.items())))

    def gauge_by(self, name: str, value: Callable[[], float]) -> None:
        """A gauge whose value is asked for whenever metrics are read."""
        family = self._family(Gauge, name, {})
        if isinstance(family, Gauge):
            family.labels(target=self._target).set_function(value)

    def observe(self, name: str, value: float, /, **labels: str) -> None:
        """Add to a histogram."""
        family = self._family(Histogram, name, labels)
        if isinstance(family, Histogram):
            family.labels(target=self._target, **labels).observe(value)

    def waiting(self, reason: str | None, until_ms: int | None = None, /) -> None:
        """An adapter waits, or waits no more."""
        if self._waits is not None:
            self._waits(reason, until_ms)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _family(
        self, kind: type[Counter] | type[Gauge] | type[Histogram], name: str, labels: dict[str, str]
    ) -> Counter | Gauge | Histogram | None:
        name = name.removesuffix("_total")  # which the counter adds by itself
        with self._lock:
            if name not in self._families:
                self._families[name] = self._make(kind, name, sorted(labels))
        family, names = self._families[name]
        return family if names == labels.keys() else None

    def _make(
        self, kind: type[Counter] | type[Gauge] | type[Histogram], name: str, labels: list[str]
    ) -> tuple[Counter | Gauge | Histogram, frozenset[str]]:
        full, text, all_labels = f"streamforge_{name}", HELP.get(name, name.replace("_", " ")), ["target", *labels]
        family: Counter | Gauge | Histogram
        if kind is Histogram:
            buckets = _RECORDS if name.endswith("records") else _SECONDS
            family = Histogram(full, text, all_labels, registry=self.registry, buckets=buckets)
        elif kind is Counter:
            family = Counter(full, text, all_labels, registry=self.registry)
        else:
            family = Gauge(full, text, all_labels, registry=self.registry)
        return family, frozenset(labels)


class _DerivedFamily:
    """Keeps a derived metric up to date."""

    def __init__(self, family: DerivedMetric, registry: CollectorRegistry) -> None:
        self._family = family
        labels = (family.label,) if family.label else ()
        self._gauge = Gauge(family.name, family.help, labels, registry=registry) if family.latest else None
        self._counter = None if family.latest else Counter(family.name, family.help, labels, registry=registry)
        self._seen: set[str] = set(family.values) if family.latest else set()
        self._show("")

    def follow(self, amount: float, labels: Mapping[str, str]) -> None:
        """The common counter grew by `amount`."""
        value = labels.get(self._family.by, "")
        if self._family.values and value not in self._family.values:
            return
        if self._counter is None:
            self._show(value)
        elif self._family.label:
            self._counter.labels(value).inc(amount)
        else:
            self._counter.inc(amount)

    def _show(self, latest: str) -> None:
        if self._gauge is None:
            return
        if latest:
            self._seen.add(latest)
        for value in self._seen:
            self._gauge.labels(value).set(1 if value == latest else 0)


class MetricsText(Protocol):
    """What is served."""

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""


class MetricsServer:
    """Serves `/metrics` from threads of its own.

    port: None is 8000, or any free one if that is taken; 0 is any free one. Raises ConfigError if the port is taken
    or the host is none of this machine's.
    """

    def __init__(self, metrics: MetricsText, host: str, port: int | None) -> None:
        self._server = _listen(host, port, _handler(metrics))
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_LOOK_S,), name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        with suppress(OSError):  # wakes the thread; where it does not, that looks by itself
            self._server.socket.shutdown(socket.SHUT_RDWR)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=1)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 16

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # the one of HTTPServer asks DNS for the host's name, which may take seconds
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        """A scraper that hung up is no news."""


def _listen(host: str, port: int | None, handler: type[BaseHTTPRequestHandler]) -> _Server:
    try:
        return _Server((host, DEFAULT_PORT if port is None else port), handler)
    except OSError as error:
        if port is None:
            return _listen(host, 0, handler)
        raise ConfigError(
            f"settings: STREAMFORGE_METRICS_HOST {host!r}, STREAMFORGE_METRICS_PORT {port}: {error.strerror or error}; "
            "name another port, or 0 for any free one"
        ) from error


def _handler(metrics: MetricsText) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _REQUEST_LIMIT_S
        server_version = "streamforge"
        sys_version = ""

        def do_GET(self) -> None:
            found = self.path.partition("?")[0] == "/metrics"
            body = metrics.text() if found else b"metrics are at /metrics\n"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", CONTENT_TYPE_LATEST if found else "text/plain; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Scrapes are not logged."""

    return Handler
