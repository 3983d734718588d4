"""What the tests on real engines share. They fail, never skip, where an engine cannot start."""

from __future__ import annotations

from tests.engines.kafka.fixtures import plain_broker, plain_proxy, secured_broker, secured_proxy
from tests.engines.kubernetes.fixtures import kube_cluster, kube_namespace

__all__ = ["kube_cluster", "kube_namespace", "plain_broker", "plain_proxy", "secured_broker", "secured_proxy"]
