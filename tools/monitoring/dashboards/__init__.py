"""The five dashboards: the platform, one workflow, workers, Kafka's lag, the store's size."""

from __future__ import annotations

from tools.monitoring.dashboards.kafka import KAFKA
from tools.monitoring.dashboards.platform import PLATFORM
from tools.monitoring.dashboards.store import STORE
from tools.monitoring.dashboards.worker import WORKER
from tools.monitoring.dashboards.workflow import WORKFLOW

DASHBOARDS = (PLATFORM, WORKFLOW, WORKER, KAFKA, STORE)

__all__ = ["DASHBOARDS", "KAFKA", "PLATFORM", "STORE", "WORKER", "WORKFLOW"]
