"""The dashboard of single workers: what they do and what they need."""

from __future__ import annotations

from tools.monitoring.dashboards.words import NAMESPACE, POD, PODS, RATE, growth
from tools.monitoring.grafana import Dashboard, Panel, Query

WORKER = Dashboard(
    uid="streamforge-worker",
    title="StreamForge: workers",
    text="What single workers do and need: records, batches, waiting, CPU and memory.",
    variables=(NAMESPACE, POD),
    rows=(
        (
            "Work",
            9,
            (
                Panel(
                    title="Records",
                    unit="rps",
                    queries=(Query(growth("streamforge_records_total", PODS, "pod")),),
                ),
                Panel(
                    title="Records in a batch",
                    queries=(
                        Query(
                            f"sum by (pod, direction) (rate(streamforge_batch_records_sum{{{PODS}}}{RATE})) / "
                            f"sum by (pod, direction) (rate(streamforge_batch_records_count{{{PODS}}}{RATE}))",
                            "{{pod}} {{direction}}",
                        ),
                    ),
                ),
                Panel(
                    title="Seconds waited, per second",
                    queries=(Query(growth("streamforge_waiting_seconds_total", PODS, "pod, who"), "{{pod}}: {{who}}"),),
                ),
            ),
        ),
        (
            "Talk",
            8,
            (
                Panel(
                    title="Seconds since the last confirmed event",
                    unit="s",
                    queries=(Query(f"streamforge_heartbeat_age_seconds{{{PODS}}}", "{{pod}}"),),
                ),
                Panel(
                    title="Events and commands",
                    unit="ops",
                    queries=(
                        Query(growth("streamforge_events_total", PODS, "event"), "event {{event}}"),
                        Query(growth("streamforge_commands_total", PODS, "command"), "command {{command}}"),
                    ),
                ),
                Panel(
                    title="Messages of the bus",
                    unit="ops",
                    queries=(
                        Query(growth("streamforge_bus_messages_sent_total", PODS, "pod"), "sent {{pod}}"),
                        Query(growth("streamforge_bus_messages_received_total", PODS, "pod"), "read {{pod}}"),
                    ),
                ),
                Panel(
                    title="Errors while reading the bus",
                    unit="ops",
                    queries=(Query(growth("streamforge_bus_read_errors_total", PODS, "error")),),
                ),
            ),
        ),
        (
            "Needs",
            9,
            (
                Panel(
                    title="Memory, as the kernel counts it",
                    unit="bytes",
                    queries=(
                        Query(
                            f'sum by (pod) (container_memory_working_set_bytes{{{PODS},container!=""}})',
                            "{{pod}}",
                        ),
                    ),
                    text="With the process that helps a sink.",
                ),
                Panel(
                    title="CPU",
                    queries=(
                        Query(f'sum by (pod) (rate(container_cpu_usage_seconds_total{{{PODS},container!=""}}{RATE}))'),
                    ),
                    unit="cores",
                ),
                Panel(
                    title="Open files",
                    queries=(Query(f"process_open_fds{{{PODS}}}", "{{pod}}"),),
                ),
                Panel(
                    title="Clock against the exchange's",
                    unit="s",
                    queries=(Query(f"streamforge_exchange_clock_difference_seconds{{{PODS}}}", "{{pod}}"),),
                    limits=(("green", None),),
                ),
            ),
        ),
    ),
)
