"""A live loader in the cluster is handed over to another Job: where its image is older, and where its pod goes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import rig
from tests.engines.kubernetes.jobs import Namespace

LIMIT_S = 600.0
TRADES = "loader-ws-trades"
QUICK = {"STREAMFORGE_COMPARE_SECONDS": "0.5", "STREAMFORGE_HOLE_SECONDS": "5", "STREAMFORGE_IMAGE_VERSION": "1"}


@pytest.fixture(scope="module")
def live_exchange() -> Iterator[rig.Exchange]:
    with rig.exchange("--seed", "7", "--trades", "600", "--no-limits") as found:
        yield found


def is_live(workflow: dict[str, Any], attempts: int = 1, beyond: int = 0) -> bool:
    """Whether the last of so many attempts of the loader writes, and more is proven than up to an id."""
    live, loader = workflow["live"], rig.step(workflow, TRADES)
    told = bool(live) and live["state"] == "live" and live["last_id"] is not None and loader["handover"] is None
    return told and len(loader["attempts"]) == attempts and (live["proven_id"] or 0) > beyond


@pytest.mark.long
def test_another_image_and_a_drained_node_leave_no_gap(
    namespace: Namespace, settings: dict[str, str], live_exchange: rig.Exchange, folder: Path
) -> None:
    def goes_on(attempts: int) -> dict[str, Any]:
        """It is live with so many attempts, and goes on."""
        found = manager.until(queue_id, "it is live", lambda w: is_live(w, attempts), limit_s=LIMIT_S)
        last: int = found["live"]["last_id"]
        return manager.until(queue_id, "it goes on", lambda w: is_live(w, attempts, last + 30), limit_s=LIMIT_S)

    with rig.manager(folder / "data", live_exchange.url, **settings, **QUICK) as manager:
        body = {"symbol": "BTCUSDT", "type": "ws_trades"}
        queue_id = manager.api.post("/queues/start", json=body).raise_for_status().json()["queue_id"]
        goes_on(1)
        assert manager.stop() == 0

    with rig.manager(
        folder / "data", live_exchange.url, **settings, **(QUICK | {"STREAMFORGE_IMAGE_VERSION": "2"})
    ) as (manager):
        assert goes_on(2)["live"]["backfilled"] == 0
        first, second = (f"job-{TRADES}-btcusdt-{queue_id[-6:]}{number}" for number in ("", "-2"))
        images = {job["metadata"]["name"]: _image(job) for job in namespace.jobs()}
        assert (images[first][-2:], images[second][-2:]) == (":1", ":2")

        pod = namespace.running(second)
        assert pod["spec"]["terminationGracePeriodSeconds"] >= 90
        # As an eviction does, with the pod's own grace.
        namespace.rest.request("DELETE", f"{namespace.path}/pods/{pod['metadata']['name']}", {})
        ended = goes_on(3)
        assert ended["live"]["backfilled"] == 0
        words = [(one["attempt"], one["event"]) for one in manager.events(queue_id) if one["target"] == TRADES]
        assert [one for one in words if one[1] not in ("started", "loading")] == [
            (1, "interrupted"),
            (2, "interrupted"),
        ]

        manager.post(f"/queues/{queue_id}/stop")
        workflow = manager.wait(queue_id, limit_s=LIMIT_S)
        assert workflow["status"] == "finished", manager.story(queue_id)
        query = {"limit": "all", "format": "jsonl"}
        lines = manager.api.get(f"/collections/{workflow['collection']}/records", params=query).text.splitlines()
        ids = [json.loads(line)["trade_id"] for line in lines]
        assert ids == list(range(ids[0], ids[-1] + 1))
        assert len(rig.step(workflow, "arango-trades")["attempts"]) == 2


def _image(job: dict[str, Any]) -> str:
    found: str = job["spec"]["template"]["spec"]["containers"][0]["image"]
    return found
