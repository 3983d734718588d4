"""What the dashboards share: selectors, choices, and the rate of a counter."""

from __future__ import annotations

from tools.monitoring.grafana import Variable

OF_MANAGER = 'namespace="$namespace",target="queue-manager"'
ALL = 'namespace="$namespace"'
ONE = 'namespace="$namespace",queue_id="$queue_id"'
PODS = 'namespace="$namespace",pod=~"$pod"'
LOADERS = f'{ALL},target=~"loader-.*"'
SINKS = f'{ALL},target=~"arango-.*"'
NAMESPACE = Variable("namespace", "process_start_time_seconds", "namespace", "Namespace")
QUEUE_ID = Variable("queue_id", f"streamforge_heartbeat_age_seconds{{{ALL}}}", "queue_id", "Workflow")
POD = Variable("pod", f"streamforge_heartbeat_age_seconds{{{ALL}}}", "pod", "Worker", multi=True)
RATE = "[$__rate_interval]"
RED_ABOVE_0 = (("green", None), ("red", 1.0))


def growth(name: str, selector: str, by: str) -> str:
    """How fast a counter grows, in a second, summed by labels."""
    return f"sum by ({by}) (rate({name}{{{selector}}}{RATE}))"
