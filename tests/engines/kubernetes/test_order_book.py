"""A live order book whose loader and sink are Jobs: it stays verified where the loader's pod is evicted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import rig
from tests.e2e.rig import Json
from tests.e2e.stored_books import LOADER, SINK, checked, is_verified, start
from tests.engines.kubernetes.jobs import Namespace

pytestmark = [pytest.mark.long]

LIMIT_S = 600.0


def test_a_book_is_verified_and_stored_by_jobs_and_an_eviction_leaves_no_gap(
    namespace: Namespace, settings: dict[str, str], exchange: rig.Exchange, folder: Path
) -> None:
    settings |= {"STREAMFORGE_COMPARE_SECONDS": "0.5"}
    with rig.manager(folder / "data", exchange.url, **settings) as manager:
        queue_id = start(manager)
        names = [f"job-{target}-btcusdt-{queue_id[-6:]}" for target in (LOADER, SINK)]
        manager.until(queue_id, "its book is verified", is_verified, limit_s=LIMIT_S)
        pod = namespace.running(names[0])
        namespace.rest.request("DELETE", f"{namespace.path}/pods/{pod['metadata']['name']}", {})
        evicted_ms = exchange.stats()["now_ms"]

        def is_handed_over(workflow: Json) -> bool:
            loader = rig.step(workflow, LOADER)
            handed = len(loader["attempts"]) == 2 and loader["handover"] is None
            return handed and is_verified(workflow, evicted_ms + 5_000)

        manager.until(queue_id, "another Job has taken over the book", is_handed_over, limit_s=LIMIT_S)
        manager.post(f"/queues/{queue_id}/stop")
        workflow = manager.wait(queue_id, limit_s=LIMIT_S)
        assert workflow["status"] == "finished", manager.story(queue_id)
        segments, diffs = checked(manager, exchange, workflow)
    assert {one["verdict"] for one in segments} == {"stored"}
    assert {one.get("cause", "") for one in segments} <= {"", "unverifiable: awaiting snapshot"}
    assert workflow["progress"]["records_stored"] == len(diffs) > 50
    specs = {job["metadata"]["name"]: job["spec"] for job in namespace.jobs()}
    assert specs.keys() == {*names, f"{names[0]}-2"}
    assert not [name for name, spec in specs.items() if "activeDeadlineSeconds" in spec]
    assert [namespace.ended(name) for name in (names[1], f"{names[0]}-2")] == ["Complete", "Complete"]
