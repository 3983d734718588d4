"""Gaps between and inside pages, and pages that do not follow each other."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from streamforge_utils.model.kinds.paging import Page
from streamforge_utils.model.kinds.registry import kind_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import parse_time_range
from streamforge_utils.ports.archive import ArchiveFile, FileRefused
from streamforge_utils.runtime.history.record_order import RecordOrder

TRADES, AGG_TRADES, HOURS = (
    Series("X", "trades"),
    Series("X", "agg_trades"),
    Series("X", "candles", "1h"),
)
START, HOUR = parse_time_range("2024-02-01").start_ms, 3_600_000


def file(date: str) -> ArchiveFile:
    return ArchiveFile(path=date, span=parse_time_range(date), size=1)


def trades(*ids: int) -> Page:
    return Page(ids, [START + 1000 * one for one in ids], [b""] * len(ids), [b""] * len(ids))


def hours(*numbers: int) -> Page:
    times = [START + HOUR * number for number in numbers]
    return Page(times, times, [b""] * len(times), [b""] * len(times))


def aggregates(*triples: tuple[int, int, int]) -> Page:
    example = kind_of(AGG_TRADES).example
    values = [
        msgspec.json.encode(msgspec.structs.replace(example, trade_id=a, first_trade_id=f, last_trade_id=last))
        for a, f, last in triples
    ]
    return Page([t[0] for t in triples], [START] * len(triples), [b""] * len(triples), values)


def gaps(series: Series, *pages: Page, files: Sequence[str] = ("2024-02-01",)) -> list[tuple[str, str]]:
    """Of one page a file, or of all pages in one file."""
    order = RecordOrder(kind_of(series), series)
    found = []
    for number, page in enumerate(pages):
        if number < len(files):
            order.begin(file(files[number]))
        found += [(str(span), reason) for span, reason in order.gaps(page)]
    return found


SEAM = ("2024-02-01", "2024-02-02")


def test_ids_and_grids_without_a_gap_are_told_nothing_of() -> None:
    assert gaps(TRADES, trades(1, 2, 3), trades(4), trades(5, 6)) == []
    assert gaps(HOURS, hours(0, 1, 2), hours(3)) == []
    assert gaps(TRADES, trades(1, 2), trades(3), files=SEAM) == []
    assert gaps(AGG_TRADES, aggregates((1, 1, 3)), aggregates((2, 4, 4)), files=SEAM) == []


def test_a_gap_is_told_with_the_time_in_which_records_lack() -> None:
    assert gaps(TRADES, trades(1, 2), trades(4)) == [
        ("2024-02-01T00:00:02.001Z:2024-02-01T00:00:04Z", "2024-02-01 lacks trade_id 3")
    ]
    assert gaps(TRADES, trades(1, 9, 10)) == [
        ("2024-02-01T00:00:01.001Z:2024-02-01T00:00:09Z", "2024-02-01 lacks trade_id 2 to 8")
    ]
    assert gaps(HOURS, hours(0, 3), hours(5)) == [
        ("2024-02-01T01:00Z:2024-02-01T03:00Z", "2024-02-01 lacks it"),
        ("2024-02-01T04:00Z:2024-02-01T05:00Z", "2024-02-01 lacks it"),
    ]


def test_a_gap_at_the_seam_of_two_files_is_told_and_one_at_files_that_do_not_meet_is_not() -> None:
    (gap,) = gaps(TRADES, trades(1, 2), trades(5), files=SEAM)
    assert gap == ("2024-02-01T00:00:02.001Z:2024-02-01T00:00:05Z", "2024-02-01 lacks trade_id 3 to 4")
    (gap,) = gaps(HOURS, hours(21), hours(24), files=SEAM)
    assert gap == ("2024-02-01T22:00Z:2024-02-02", "2024-02-01 lacks it")
    assert gaps(TRADES, trades(1, 2), trades(5), files=("2024-02-01", "2024-02-03")) == []


def test_a_file_that_does_not_follow_the_one_before_is_refused() -> None:
    with pytest.raises(FileRefused, match="2024-02-02: it begins with trade_id 2, after 2"):
        gaps(TRADES, trades(1, 2), trades(2, 3), files=SEAM)
    with pytest.raises(FileRefused, match="2024-02-02: aggregate 1 ends with trade 3, and 2 begins with 5"):
        gaps(AGG_TRADES, aggregates((1, 1, 3)), aggregates((2, 5, 5)), files=SEAM)
