"""The files of a topic below the bus: what those who hold them open notice, and how much is read at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.adapters.embedded.bus.batch_format import Batch, pack
from streamforge_utils.adapters.embedded.bus.files import OpenTopic, TopicFiles
from streamforge_utils.adapters.embedded.wal_copier import COPY_BYTES
from streamforge_utils.model.errors import PermanentError, RetryableError
from streamforge_utils.ports.bus import Message, Retention, TopicSpec


@pytest.fixture
def files(tmp_path: Path) -> TopicFiles:
    files = TopicFiles(tmp_path)
    files.create(TopicSpec(name="topic"))
    return files


@pytest.fixture
def topic(files: TopicFiles) -> Iterator[OpenTopic]:
    topic = files.open("topic")
    yield topic
    topic.close()


def batches(count: int) -> list[Batch]:
    messages = [Message(None, b"x" * 90)] * 10
    return pack("topic", messages, batch_bytes=10_000, message_limit=1000) * count


def append(topic: OpenTopic, count: int) -> int:
    return topic.log.append(batches(count), 1, int)


def test_who_holds_a_deleted_topic_open_can_neither_append_nor_commit(files: TopicFiles, topic: OpenTopic) -> None:
    topic.groups.join("group", "member")
    files.delete("topic")
    files.create(TopicSpec(name="topic"))
    with pytest.raises(PermanentError, match="topic topic was deleted"):
        append(topic, 1)
    with pytest.raises(RetryableError, match="another member"):
        topic.groups.commit("group", "member", 1)


def test_closing_the_files_of_a_deleted_topic_does_not_touch_those_of_the_new_one(files: TopicFiles) -> None:
    old = files.open("topic")
    files.delete("topic")
    files.create(TopicSpec(name="topic"))
    new = files.open("topic")
    append(new, 3)
    old.close()
    append(new, 1)
    new.close()
    again = files.open("topic")
    assert again.log.end() == 40
    assert [batch.last for batch in again.log.read(0, 1000, 1 << 20)] == [9, 19, 29, 39]
    again.close()


def test_a_read_holds_no_more_than_was_asked_for(topic: OpenTopic) -> None:
    assert append(topic, 20) == 20
    body = len(batches(1)[0].body)
    for offset, max_messages, max_bytes, lasts in (
        (0, 1, 1 << 20, [9]),
        (0, 10, 1 << 20, [9]),
        (0, 11, 1 << 20, [9, 19]),
        (5, 5, 1 << 20, [9]),
        (5, 6, 1 << 20, [9, 19]),
        (9, 25, 1 << 20, [9, 19, 29, 39]),
        (0, 1000, body, [9]),
        (0, 1000, body + 1, [9, 19]),
        (195, 1000, 1 << 20, [199]),
        (200, 1000, 1 << 20, []),
    ):
        assert [batch.last for batch in topic.log.read(offset, max_messages, max_bytes)] == lasts


def test_only_what_is_fleeting_does_not_wait_for_the_disk(topic: OpenTopic) -> None:
    def flushes() -> bool:
        return bool(topic.log._connection.execute("PRAGMA synchronous").fetchone() == (2,))

    for fleeting in (False, True, True, False):
        topic.log.append(batches(1), 1, int, fleeting=fleeting)
        assert flushes() is not fleeting


def test_records_are_copied_into_the_file_while_they_are_written(files: TopicFiles) -> None:
    """The writer would do so itself at eight times as much."""
    files.create(TopicSpec(name="data", retention=Retention.CONSUMED, readers=("sink",)))
    large = pack("data", [Message(None, b"x" * 999_000)], batch_bytes=1_000_000, message_limit=1_000_000)
    topic = files.open("data")
    for _ in range(2 * COPY_BYTES // 1_000_000):
        topic.log.append(large, 1, int)
    with closing(sqlite.connect(topic.log.path)) as reader, sqlite.snapshot(reader, topic.log.path):
        reader.execute("SELECT count(*) FROM log").fetchone()  # so that closing copies nothing
        topic.close()
        assert topic.log.path.stat().st_size > COPY_BYTES
