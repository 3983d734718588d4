from __future__ import annotations

import httpx

from streamforge_utils.ports.bus import Message, TopicSpec
from tests.manager.api.support import problem, running, started
from tests.manager.memory_service import MemoryService


async def test_topics_are_listed_and_one_is_shown(client: httpx.AsyncClient, service: MemoryService) -> None:
    workflow = running(await started(service))
    await service.put(workflow)
    bus = service.world.bus
    await bus.create_topic(TopicSpec(name=workflow.topic))
    bus.append(workflow.topic, Message(b"k", b"v"))

    page = (await client.get(f"/topics?queue_id={workflow.queue_id}&limit=1")).json()
    one = (await client.get(f"/topics/{workflow.topic}")).json()

    assert page == {"topics": [one], "cursor": None}
    assert (one["name"], one["messages"], one["bytes"], one["lag"]) == (workflow.topic, 1, 2, 1)
    assert one["partitions"] == [{"partition": 0, "first": 0, "end": 1}]
    assert [one["step"] for one in one["readers"]] == ["arango-candles"]
    first = (await client.get("/topics?limit=1")).json()
    assert ([one["name"] for one in first["topics"]], first["cursor"]) == (["queue-control"], "queue-control")
    query = f"kind=records&search={workflow.topic[3:9].upper()}"
    assert [one["name"] for one in (await client.get(f"/topics?{query}")).json()["topics"]] == [workflow.topic]
    problem(await client.get("/topics?kind=letters"), 422, "invalid-input")
    problem(await client.get("/topics/nothing"), 404, "not-found")
    problem(await client.get("/topics?limit=201"), 422, "invalid-input")
    assert (await client.get("/topics?sort=messages&limit=1")).json()["topics"][0]["name"] == workflow.topic
    problem(await client.get("/topics?sort=age"), 422, "invalid-input")
    problem(await client.get("/topics?sort=lag&cursor=nothing"), 422, "invalid-input", "cursor-unknown")
