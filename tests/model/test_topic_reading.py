"""What ends the reading of a topic, and the ranges of its partitions, as texts."""

from __future__ import annotations

import pytest

from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.topic_reading import COUNT_LIMIT, PartitionRange, Until, partition_ranges, total


@pytest.mark.parametrize(
    ("text", "until"),
    [
        ("end", Until("end")),
        ("stop", Until("stop")),
        ("count:007", Until("count:7", count=7)),
        ("marker:a", Until("marker:a", producers=("a",))),
        ("marker:b,a.1,b", Until("marker:b,a.1", producers=("b", "a.1"))),
    ],
)
def test_each_form_is_read_in_its_one_spelling(text: str, until: Until) -> None:
    assert Until.parse(text) == until
    assert Until.parse(str(until)) == until


@pytest.mark.parametrize(
    "text",
    [
        *("", "END", "end:", "count", "count:", "count:0", "count:-1", "count:1.5", "count:x"),
        f"count:{COUNT_LIMIT + 1}",
        "marker",
        "marker:",
        "marker:a,,b",
        "marker:a b",
        "marker:" + ",".join(map(str, range(33))),
        "count:" + "9" * 999,
    ],
)
def test_other_texts_are_refused_with_the_forms_there_are(text: str) -> None:
    with pytest.raises(InvalidInput, match="`end`, `stop`, `count:N`"):
        Until.parse(text)


def test_ranges_are_read_as_they_are_written() -> None:
    ranges = partition_ranges({2: (5, 5), 0: (3, 10)})
    assert [str(one) for one in ranges] == ["0:3:10", "2:5:5"]
    assert tuple(map(PartitionRange.parse_setting, map(str, ranges))) == ranges
    assert total(ranges) == 7
    for text in ("0:1", "0:5:4", "a:1:2", "0:-1:2", "0:1:2:3"):
        with pytest.raises(ValueError, match=r"PARTITION|ends before"):
            PartitionRange.parse_setting(text)
