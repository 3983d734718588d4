"""The dashboard of Kafka's lag, as the brokers see it and as workers do."""

from __future__ import annotations

from tools.monitoring.dashboards.words import ALL, LOADERS, NAMESPACE, RATE, SINKS, growth
from tools.monitoring.grafana import Dashboard, Panel, Query

KAFKA = Dashboard(
    uid="streamforge-kafka-lag",
    title="StreamForge: Kafka lag",
    text="How far readers are behind their topics, as the brokers see it (Strimzi's Kafka Exporter) and as workers do.",
    variables=(NAMESPACE,),
    rows=(
        (
            "Data topics",
            9,
            (
                Panel(
                    title="Lag by consumer group, as the brokers see it",
                    queries=(
                        Query(
                            f'sum by (consumergroup) (kafka_consumergroup_lag{{{ALL},consumergroup=~"wf-.*"}})',
                        ),
                    ),
                    text="A group's name is QUEUE_ID-TARGET. Committed offsets: what is being stored counts as lag.",
                ),
                Panel(
                    title="Records still to be read, as sinks see it",
                    queries=(Query(f"streamforge_lag_records{{{SINKS}}}", "{{queue_id}}"),),
                ),
                Panel(
                    title="Minutes behind",
                    unit="m",
                    queries=(
                        Query(
                            f'sum by (topic) (kafka_consumergroup_lag{{{ALL},consumergroup=~"wf-.*"}}) / '
                            "(sum by (topic) "
                            f'(rate(kafka_topic_partition_current_offset{{{ALL},topic=~"wf-.*"}}[5m])) > 0) / 60',
                        ),
                    ),
                    text="Lag over what is written now.",
                ),
            ),
        ),
        (
            "Commands and events",
            9,
            (
                Panel(
                    title="Lag of who hears events and commands",
                    queries=(
                        Query(
                            f'sum by (consumergroup, topic) (kafka_consumergroup_lag{{{ALL},topic=~"queue-.*"}})',
                            "{{consumergroup}} {{topic}}",
                        ),
                    ),
                ),
                Panel(
                    title="Written to topics",
                    unit="ops",
                    queries=(
                        Query(
                            f"topk(10, sum by (topic) (rate(kafka_topic_partition_current_offset{{{ALL}}}{RATE})))",
                        ),
                    ),
                ),
                Panel(
                    title="Messages kept",
                    queries=(
                        Query(
                            "topk(10, sum by (topic) "
                            f"(kafka_topic_partition_current_offset{{{ALL}}} - "
                            f"kafka_topic_partition_oldest_offset{{{ALL}}}))",
                        ),
                    ),
                ),
            ),
        ),
        (
            "Who reads, who waits",
            8,
            (
                Panel(
                    title="Members of a group",
                    queries=(Query(f"sum by (consumergroup) (kafka_consumergroup_members{{{ALL}}})"),),
                    text="A workflow's sink is alone in its group.",
                ),
                Panel(
                    title="Loaders that wait for their sinks, seconds per second",
                    queries=(
                        Query(
                            growth("streamforge_waiting_seconds_total", LOADERS, "queue_id, who"),
                            "{{queue_id}}: {{who}}",
                        ),
                    ),
                ),
                Panel(
                    title="Errors while reading",
                    unit="ops",
                    queries=(
                        Query(
                            growth("streamforge_bus_read_errors_total", ALL, "target, error"), "{{target}} {{error}}"
                        ),
                    ),
                ),
            ),
        ),
    ),
)
