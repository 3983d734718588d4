"""The topic of a live workflow on a real broker stays flat: what every sink has committed is removed, and no more."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import OffsetSpec

from streamforge_utils.model import names
from tests import backends
from tests.e2e import rig
from tests.e2e.test_live import QUICK, assert_equal, is_live, is_proven_beyond, start, stored
from tests.engines.kafka.broker import Broker
from tests.limits import LIMIT_S

SINK = "arango-trades"


@pytest.fixture
def exchange() -> Iterator[rig.Exchange]:
    """28 trades a second."""
    with rig.exchange("--trades", "1667", "--no-limits") as found:
        yield found


class Topic:
    """The data topic of a workflow, as the brokers' administrator sees it."""

    def __init__(self, broker: Broker, queue_id: str) -> None:
        self._admin = broker.admin_client()
        self._place = TopicPartition(names.data_topic(queue_id), 0)
        self._group = names.consumer_group(queue_id, SINK)

    def end(self, which: str) -> int:
        (found,) = self._admin.list_offsets({self._place: getattr(OffsetSpec, which)()}).values()
        return int(found.result(LIMIT_S).offset)

    def look(self) -> tuple[int, int, int]:
        """The first offset that is there, what is committed, where it ends; each was so later than the one before."""
        first, asked = self.end("earliest"), [ConsumerGroupTopicPartitions(self._group, [self._place])]
        (found,) = self._admin.list_consumer_group_offsets(asked).values()
        committed = max(0, found.result(LIMIT_S).topic_partitions[0].offset)
        assert first <= committed, "what was not read was removed"
        return first, committed, self.end("latest")

    def trimmed_beyond(self, offset: int) -> int | None:
        """The first offset that is there, once all before `offset` is removed; None: not yet."""
        first = self.look()[0]
        return first if first >= offset else None


def test_it_is_trimmed_below_the_slowest_commit_and_nothing_unread_is_lost(
    exchange: rig.Exchange, secured_broker: Broker, tmp_path: Path
) -> None:
    settings = {**QUICK, "STREAMFORGE_TOPIC_RETENTION_SECONDS": "1"}  # so often it is trimmed, too
    with (
        backends.on_bus(secured_broker.environment()),
        rig.manager(tmp_path / "data", exchange.url, **settings) as manager,
    ):
        queue_id = start(manager, "ws_trades")
        manager.until(queue_id, "it is live", is_live)
        topic, first = Topic(secured_broker, queue_id), 0
        for _ in range(3):
            end = topic.look()[2]
            first = rig.eventually(partial(topic.trimmed_beyond, end), "what was there is gone", story=manager.log)
        manager.kill_worker(queue_id, SINK, signal.SIGSTOP)
        _, committed, end = topic.look()
        grown = end + 100
        rig.eventually(lambda: True if topic.look()[2] >= grown else None, "more comes than is read", story=manager.log)
        # All that is committed goes, and no more, though the manager looks again and again.
        rig.eventually(partial(topic.trimmed_beyond, committed), "what was read is gone", story=manager.log)
        first, committed, end = topic.look()
        assert first <= committed <= end - 100
        proven = manager.show(queue_id)["live"]["proven_id"]
        manager.kill_worker(queue_id, SINK, signal.SIGKILL)
        manager.until(queue_id, "it goes on", partial(is_proven_beyond, proven + 100))
        assert topic.look()[0] > 0
        ended = manager.stopped(queue_id)
        assert ended["progress"]["records_stored"] > grown - 1
        assert_equal(exchange, stored(manager, ended))
