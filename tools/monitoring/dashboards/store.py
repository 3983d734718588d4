"""The dashboard of the store's size: used, limit, growth, and when it is full."""

from __future__ import annotations

from tools.monitoring.dashboards.words import ALL, NAMESPACE, OF_MANAGER, growth
from tools.monitoring.grafana import Dashboard, Panel, Query

STORE = Dashboard(
    uid="streamforge-store",
    title="StreamForge: size of the store",
    text="How much the data take, how fast they grow, and when the limit is reached.",
    variables=(NAMESPACE,),
    rows=(
        (
            "Room",
            6,
            (
                Panel(
                    title="Used",
                    kind="stat",
                    unit="bytes",
                    queries=(Query(f"max(streamforge_store_used_bytes{{{OF_MANAGER}}})", "used"),),
                ),
                Panel(
                    title="Share of the limit",
                    kind="stat",
                    unit="percentunit",
                    queries=(
                        Query(
                            f"max(streamforge_store_used_bytes{{{OF_MANAGER}}}) / "
                            f"max(streamforge_store_limit_bytes{{{OF_MANAGER}}})",
                            "share",
                        ),
                    ),
                    text="Empty where the store has no limit of its own (its licence); its disk has one all the same.",
                    limits=(("green", None), ("orange", 0.75), ("red", 0.9)),
                ),
                Panel(
                    title="Growth in a day",
                    kind="stat",
                    unit="bytes",
                    queries=(Query(f"max(streamforge_store_growth_bytes_per_day{{{OF_MANAGER}}})", "a day"),),
                ),
                Panel(
                    title="Full on",
                    kind="stat",
                    unit="dateTimeAsIso",
                    queries=(
                        Query(f"(max(streamforge_store_full_timestamp_seconds{{{OF_MANAGER}}}) > 0) * 1000", "full"),
                    ),
                    text="If it goes on as in the last week; empty: not in sight.",
                ),
            ),
        ),
        (
            "Over time",
            10,
            (
                Panel(
                    title="Used, and the limit",
                    unit="bytes",
                    queries=(
                        Query(f"max(streamforge_store_used_bytes{{{OF_MANAGER}}})", "used"),
                        Query(f"max(streamforge_store_limit_bytes{{{OF_MANAGER}}})", "limit"),
                    ),
                ),
                Panel(
                    title="Documents by the store's answer",
                    unit="ops",
                    queries=(Query(growth("streamforge_store_documents_total", ALL, "outcome")),),
                ),
            ),
        ),
        (
            "How it answers",
            9,
            (
                Panel(
                    title="Seconds of writing, per second",
                    queries=(Query(growth("streamforge_store_write_seconds_total", ALL, "target")),),
                ),
                Panel(
                    title="Sent again, by reason",
                    unit="ops",
                    queries=(Query(growth("streamforge_store_retries_total", ALL, "reason")),),
                ),
                Panel(
                    title="Old data exported and dropped, per day",
                    queries=(
                        Query(
                            f"sum(increase(streamforge_retention_collections_total{{{OF_MANAGER}}}[1d]))", "collections"
                        ),
                        Query(f"sum(increase(streamforge_retention_records_total{{{OF_MANAGER}}}[1d]))", "records"),
                    ),
                ),
            ),
        ),
    ),
)
