"""The command `topics`: what lies on the bus, and how far it is read."""

from __future__ import annotations

import json

import pytest

from streamforge.cli.commands import topic_command
from streamforge.cli.commands.topic_command import topics
from streamforge_utils.ports.bus import Message, TopicSpec
from tests.cli.support import serving
from tests.manager.api.support import running, started
from tests.manager.memory_service import MemoryService


async def test_topics_are_a_table_page_after_page(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topic_command, "MOST_AT_ONCE", 1)
    service = await MemoryService.made()
    workflow = running(await started(service))
    await service.put(workflow)
    await service.world.bus.create_topic(TopicSpec(name=workflow.topic))
    service.world.bus.append(workflow.topic, Message(b"k", b"v"), Message(b"k", b"v"))
    async with serving(service) as where:
        assert await topics(where) == 0
        rows = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert [row[0] for row in rows[-3:]] == ["queue-control", "queue-events", workflow.topic]
        assert rows[-1][1:5] == ["records", "2", "2", "2"]
        assert await topics(where, queue_id=workflow.queue_id, as_json=True) == 0
        (one,) = json.loads(capsys.readouterr().out)["topics"]
        assert (one["name"], one["lag"]) == (workflow.topic, 2)
        assert await topics(where, limit=1) == 0
        assert "the first 1 are shown" in capsys.readouterr().err
