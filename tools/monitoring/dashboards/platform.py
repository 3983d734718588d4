"""The dashboard of the platform: the manager, all workers together, the exchange, the cluster."""

from __future__ import annotations

from tools.monitoring.dashboards.words import ALL, NAMESPACE, OF_MANAGER, RED_ABOVE_0, growth
from tools.monitoring.grafana import Dashboard, Panel, Query

PLATFORM = Dashboard(
    uid="streamforge-platform",
    title="StreamForge: platform",
    text="Is queue-manager at work, what do all workers do together, does the exchange answer?",
    variables=(NAMESPACE,),
    rows=(
        (
            "Now",
            5,
            (
                Panel(
                    title="queue-manager",
                    kind="stat",
                    queries=(Query(f'max(up{{{ALL},job="queue-manager"}}) or vector(0)', "up"),),
                    text="1: it is scraped.",
                    limits=(("red", None), ("green", 1.0)),
                ),
                Panel(
                    title="Alerts firing",
                    kind="stat",
                    queries=(
                        Query(
                            'count(ALERTS{alertstate="firing",alertname=~"StreamForge.*"}) or vector(0)',
                            "alerts",
                        ),
                    ),
                    limits=RED_ABOVE_0,
                ),
                Panel(
                    title="Workers",
                    kind="stat",
                    queries=(Query(f"count(streamforge_heartbeat_age_seconds{{{ALL}}}) or vector(0)", "workers"),),
                    text="Those that were scraped just now; one that lives for seconds only may never be.",
                ),
                Panel(
                    title="Failed in 24 h",
                    kind="stat",
                    queries=(
                        Query(
                            f'round(sum(increase(streamforge_workflow_changes_total{{{OF_MANAGER},status="error"}}[24h])))',
                            "workflows",
                        ),
                    ),
                    limits=RED_ABOVE_0,
                ),
                Panel(
                    title="Banned until",
                    kind="stat",
                    unit="dateTimeAsIso",
                    queries=(
                        Query(f"(max(streamforge_exchange_banned_until_seconds{{{ALL}}}) > time()) * 1000", "until"),
                    ),
                    text="Empty: the exchange has not banned this address.",
                ),
            ),
        ),
        (
            "Workflows",
            8,
            (
                Panel(
                    title="Workflows that came into a status, per hour",
                    queries=(
                        Query(f"sum by (status) (increase(streamforge_workflow_changes_total{{{OF_MANAGER}}}[1h]))"),
                    ),
                ),
                Panel(
                    title="Workers by target",
                    queries=(Query(f"count by (target) (streamforge_heartbeat_age_seconds{{{ALL}}})"),),
                    stacked=True,
                ),
                Panel(
                    title="Records by target",
                    unit="rps",
                    queries=(Query(growth("streamforge_records_total", ALL, "target")),),
                ),
            ),
        ),
        (
            "Schedules",
            6,
            (
                Panel(
                    title="Runs by how they ended, per day",
                    queries=(
                        Query(f"sum by (outcome) (increase(streamforge_schedule_runs_total{{{OF_MANAGER}}}[1d]))"),
                    ),
                ),
                Panel(
                    title="Overdue",
                    unit="s",
                    queries=(Query(f"max by (schedule) (streamforge_schedule_overdue_seconds{{{OF_MANAGER}}}) > 0"),),
                    text="Empty: every fire time has had its run.",
                ),
            ),
        ),
        (
            "queue-manager",
            8,
            (
                Panel(
                    title="Its loop and its workflows",
                    queries=(
                        Query(
                            f"sum(increase(streamforge_reconcile_failures_total{{{OF_MANAGER}}}[10m]))", "loop failed"
                        ),
                        Query(
                            f"sum(increase(streamforge_workflow_failures_total{{{OF_MANAGER}}}[10m]))",
                            "a workflow could not be moved on",
                        ),
                        Query(f"sum(increase(streamforge_orphans_ended_total{{{OF_MANAGER}}}[10m]))", "orphans ended"),
                    ),
                    text="Within ten minutes.",
                ),
                Panel(
                    title="Actions that failed, in ten minutes",
                    queries=(
                        Query(
                            f"sum by (action) (increase(streamforge_action_failures_total{{{OF_MANAGER}}}[10m])) > 0"
                        ),
                    ),
                ),
                Panel(
                    title="Events heard",
                    unit="ops",
                    queries=(
                        Query(growth("streamforge_events_heard_total", OF_MANAGER, "event")),
                        Query(growth("streamforge_events_foreign_total", OF_MANAGER, "target"), "foreign"),
                        Query(growth("streamforge_events_malformed_total", OF_MANAGER, "target"), "malformed"),
                    ),
                ),
                Panel(
                    title="Memory and CPU",
                    unit="bytes",
                    queries=(
                        Query(f'process_resident_memory_bytes{{{ALL},job="queue-manager"}}', "memory"),
                        Query(
                            f'max(kube_pod_container_resource_limits{{{ALL},container="queue-manager",'
                            'resource="memory"})',
                            "its limit",
                        ),
                    ),
                ),
            ),
        ),
        (
            "Exchange",
            8,
            (
                Panel(
                    title="Requests by outcome",
                    unit="reqps",
                    queries=(Query(growth("streamforge_exchange_requests_total", ALL, "outcome")),),
                ),
                Panel(
                    title="Errors by status and code",
                    unit="reqps",
                    queries=(
                        Query(growth("streamforge_exchange_errors_total", ALL, "status, code"), "{{status}} {{code}}"),
                    ),
                ),
                Panel(
                    title="Weight used in this minute",
                    queries=(
                        Query(f"max(streamforge_exchange_address_weight{{{ALL}}})", "of 6000, as Binance counts"),
                    ),
                ),
                Panel(
                    title="Seconds waited for the exchange, per second",
                    queries=(Query(growth("streamforge_exchange_wait_seconds_total", ALL, "reason")),),
                ),
            ),
        ),
        (
            "Live workflows",
            8,
            (
                Panel(
                    title="Oldest frame, and oldest end of what is proven",
                    unit="s",
                    queries=(
                        Query(f"max(streamforge_live_frame_age_seconds{{{OF_MANAGER}}})", "last frame"),
                        Query(f"max(streamforge_live_proven_age_seconds{{{OF_MANAGER}}})", "proven through"),
                    ),
                ),
                Panel(
                    title="Live workflows by state",
                    queries=(Query(f"sum by (state) (streamforge_live_workflows{{{OF_MANAGER}}})"),),
                    stacked=True,
                ),
                Panel(
                    title="Open holes",
                    queries=(Query(f"max(streamforge_live_open_holes{{{OF_MANAGER}}})", "open"),),
                ),
                Panel(
                    title="Series that are late",
                    unit="s",
                    queries=(
                        Query(
                            f"max by (symbol, type) (streamforge_live_late_seconds{{{OF_MANAGER}}}) > 0",
                            "{{symbol}} {{type}}",
                        ),
                    ),
                    text="The 20 most late ones, by the age of the last frame or of what is proven; empty: none is.",
                ),
            ),
        ),
        (
            "Cluster",
            8,
            (
                Panel(
                    title="Seconds since Jobs and pods were seen",
                    unit="s",
                    queries=(Query(f"max(streamforge_launcher_unseen_seconds{{{OF_MANAGER}}})", "unseen"),),
                ),
                Panel(
                    title="API server: requests by answer",
                    unit="reqps",
                    queries=(
                        Query(
                            growth("streamforge_kubernetes_requests_total", OF_MANAGER, "method, status"),
                            "{{method}} {{status}}",
                        ),
                    ),
                ),
                Panel(
                    title="Quotas: share used",
                    unit="percentunit",
                    queries=(
                        Query(
                            f'kube_resourcequota{{{ALL},type="used"}} / ignoring (type) '
                            f'(kube_resourcequota{{{ALL},type="hard"}} > 0)',
                            "{{resourcequota}} {{resource}}",
                        ),
                    ),
                ),
                Panel(
                    title="Workers' pods by phase",
                    queries=(Query(f'sum by (phase) (kube_pod_status_phase{{{ALL},pod=~"job-.*"}})'),),
                    stacked=True,
                ),
            ),
        ),
    ),
)
