from __future__ import annotations

import httpx

from tests.manager.api.support import UNKNOWN, problem, running, started
from tests.manager.memory_service import MemoryService
from tests.manager.support import job_named


async def test_logs_are_given_with_where_they_go_on(client: httpx.AsyncClient, service: MemoryService) -> None:
    workflow = running(await started(service))
    await service.put(workflow)
    loader = next(one for one in workflow.steps if one.attempts)
    (number, job) = (loader.attempts[0].number, loader.attempts[0].job)
    launcher = service.world.launcher
    launcher.logs[job] = "one\n"
    launcher.known[job] = job_named(job)
    place = f"/queues/{workflow.queue_id}/logs?step={loader.target}&attempt={number}"

    body = (await client.get(place)).json()

    assert body["queue_id"] == workflow.queue_id
    assert body["logs"] == [
        {
            "step": loader.target,
            "attempt": number,
            "job": job,
            "ended": False,
            "text": "one\n",
            "resumed": False,
        }
    ]
    assert body["ended"] is False
    launcher.logs[job] = "one\ntwo\n"
    (later,) = (await client.get(f"{place}&after={body['after']}")).json()["logs"]
    assert (later["text"], later["resumed"]) == ("two\n", True)
    problem(await client.get(f"{place}&after=x"), 422, "invalid-input")
    problem(await client.get(f"/queues/{workflow.queue_id}/logs?step=nobody"), 404, "not-found")
    problem(await client.get(f"/queues/{UNKNOWN}/logs"), 404, "not-found")
