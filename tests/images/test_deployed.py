"""The first workflow, by containers of the images: the production overlay on a real cluster, with a real Kafka.

queue-manager runs from its image as its Deployment starts it, and launches the workers as Jobs from theirs. The kubelet
of the tests knows the built images and no others: what runs in a pod here is one of them.
"""

from __future__ import annotations

import json

from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.test_deployed import Deployed, deployed

__all__ = ["deployed"]


def test_the_first_workflow_is_completed_by_containers_of_the_images(kube_cluster: Cluster, deployed: Deployed) -> None:
    ended = deployed.command("load", "BTCUSDT", "api_candles_1m", "2024-08-01")
    assert (ended["status"], ended["records_stored"]) == ("finished", 1440), deployed.story()
    ran = [json.loads(path.read_text()) for path in kube_cluster.folder.glob("pods/**/containers/*/config.json")]
    words = {tuple(one["process"]["args"]) for one in ran}
    assert words == {("/usr/bin/tini", "--", "python3.11", "-m", "app.main")}
    assert len(ran) == 3, "queue-manager, a loader and a sink"
    assert all(one["root"]["readonly"] and one["process"]["user"]["uid"] == 1001 for one in ran)
    targets = {value for one in ran for value in one["process"]["env"] if value.startswith("TELEMETRY_PRODUCER_ID=")}
    assert len(targets) == 2
