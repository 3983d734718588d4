"""The dashboard of one workflow: how far it is, who waits for whom, what was not stored."""

from __future__ import annotations

from tools.monitoring.dashboards.words import NAMESPACE, ONE, QUEUE_ID, RATE, RED_ABOVE_0, growth
from tools.monitoring.grafana import Dashboard, Panel, Query

WORKFLOW = Dashboard(
    uid="streamforge-workflow",
    title="StreamForge: one workflow",
    text="How far is it, who waits for whom, what was not stored? `streamforge show` has what was never scraped.",
    variables=(NAMESPACE, QUEUE_ID),
    rows=(
        (
            "How far",
            6,
            (
                Panel(
                    title="Done",
                    kind="stat",
                    unit="percentunit",
                    queries=(Query(f"streamforge_share{{{ONE}}}", "{{target}}"),),
                ),
                Panel(
                    title="Records",
                    kind="stat",
                    queries=(Query(f"sum by (target) (streamforge_records_total{{{ONE}}})"),),
                    text="Of the attempts that were scraped last.",
                ),
                Panel(
                    title="Dead letters",
                    kind="stat",
                    queries=(
                        Query(f"sum(max_over_time(streamforge_dead_letters_total{{{ONE}}}[$__range])) or vector(0)"),
                    ),
                    limits=RED_ABOVE_0,
                ),
                Panel(
                    title="Seconds since the last event",
                    kind="stat",
                    unit="s",
                    queries=(Query(f"streamforge_heartbeat_age_seconds{{{ONE}}}", "{{pod}}"),),
                    limits=(("green", None), ("red", 60.0)),
                ),
            ),
        ),
        (
            "Flow",
            9,
            (
                Panel(
                    title="Records",
                    unit="rps",
                    queries=(Query(growth("streamforge_records_total", ONE, "target")),),
                ),
                Panel(
                    title="Records still to be read",
                    queries=(Query(f"streamforge_lag_records{{{ONE}}}", "{{pod}}"),),
                    text="A loader waits once 96 MiB of its topic are unread.",
                ),
                Panel(
                    title="Seconds waited, per second",
                    queries=(
                        Query(
                            growth("streamforge_waiting_seconds_total", ONE, "target, who"),
                            "{{target}}: {{who}}",
                        ),
                    ),
                    text="Near 1: it does nothing but wait.",
                ),
            ),
        ),
        (
            "Store",
            9,
            (
                Panel(
                    title="Documents by the store's answer",
                    unit="ops",
                    queries=(Query(growth("streamforge_store_documents_total", ONE, "outcome")),),
                ),
                Panel(
                    title="Seconds for a batch",
                    unit="s",
                    queries=tuple(
                        Query(
                            f"histogram_quantile({share}, "
                            f"sum by (le) (rate(streamforge_store_seconds_bucket{{{ONE}}}{RATE})))",
                            name,
                        )
                        for share, name in ((0.5, "half"), (0.99, "99 of 100"))
                    ),
                ),
                Panel(
                    title="Sent again, by reason",
                    unit="ops",
                    queries=(Query(growth("streamforge_store_retries_total", ONE, "reason")),),
                ),
            ),
        ),
        (
            "Trouble",
            8,
            (
                Panel(
                    title="Calls repeated, by what was called",
                    unit="ops",
                    queries=(Query(growth("streamforge_retries_total", ONE, "target, what"), "{{target}}: {{what}}"),),
                ),
                Panel(
                    title="Memory",
                    unit="bytes",
                    queries=(Query(f"process_resident_memory_bytes{{{ONE}}}", "{{pod}}"),),
                ),
                Panel(
                    title="Rows of the exchange left out",
                    unit="ops",
                    queries=(Query(growth("streamforge_exchange_rows_dropped_total", ONE, "reason")),),
                ),
            ),
        ),
    ),
)
