"""Which files a loader reads: whole months, else days, and each moment of its ranges once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from streamforge_utils.ports.archive import ArchiveFile
from streamforge_utils.runtime.history.archive_plan import DAY_MS, readings


def file(date: str) -> ArchiveFile:
    return ArchiveFile(path=date, span=parse_time_range(date), size=1)


def shown(files: list[str], *ranges: str, months: bool = True) -> list[tuple[str | None, list[str]]]:
    found = readings([file(date) for date in files], [parse_time_range(one) for one in ranges], months=months)
    return [(None if one.file is None else one.file.path, [str(span) for span in one.spans]) for one in found]


DAYS = [f"2024-02-{day:02}" for day in range(1, 30)]


@pytest.mark.parametrize(
    ("files", "ranges", "expected"),
    [
        (["2024-02", *DAYS], ["2024-02"], [("2024-02", ["2024-02-01:2024-03-01"])]),
        (
            ["2024-02", *DAYS, "2024-03-01"],
            ["2024-02:2024-03-01T12:00Z"],
            [("2024-02", ["2024-02-01:2024-03-01"]), ("2024-03-01", ["2024-03-01:2024-03-01T12:00Z"])],
        ),
        (
            ["2024-02", *DAYS],
            ["2024-02-27T06:00Z:2024-02-28T12:00Z"],
            [("2024-02-27", ["2024-02-27T06:00Z:2024-02-28"]), ("2024-02-28", ["2024-02-28:2024-02-28T12:00Z"])],
        ),
        # A day without a file of its own: that of its month.
        (
            ["2024-02", "2024-02-01", "2024-02-03"],
            ["2024-02-01:2024-02-04"],
            [
                ("2024-02-01", ["2024-02-01:2024-02-02"]),
                ("2024-02", ["2024-02-02:2024-02-03"]),
                ("2024-02-03", ["2024-02-03:2024-02-04"]),
            ],
        ),
        (["2024-02"], ["2024-02-10:2024-02-12"], [("2024-02", ["2024-02-10:2024-02-12"])]),
        # Several ranges in one file: it is read once.
        (
            ["2024-02-01"],
            ["2024-02-01:2024-02-01T01:00Z", "2024-02-01T03:00Z:2024-02-01T04:00Z"],
            [("2024-02-01", ["2024-02-01:2024-02-01T01:00Z", "2024-02-01T03:00Z:2024-02-01T04:00Z"])],
        ),
        (
            ["2024-02-01"],
            ["2024-02-01:2024-02-04"],
            [("2024-02-01", ["2024-02-01:2024-02-02"]), (None, ["2024-02-02:2024-02-04"])],
        ),
        ([], ["2024-02"], [(None, ["2024-02-01:2024-03-01"])]),
    ],
)
def test_the_fewest_files_that_have_the_ranges(
    files: list[str], ranges: list[str], expected: list[tuple[str | None, list[str]]]
) -> None:
    assert shown(files, *ranges) == expected


def test_a_month_that_was_refused_is_read_by_days() -> None:
    assert shown(["2024-02", *DAYS], "2024-02", months=False) == [
        (day, [f"{day}:{following}"]) for day, following in zip(DAYS, [*DAYS[1:], "2024-03-01"], strict=True)
    ]


START = parse_time_range("2024-01-30").start_ms
HOURS = st.integers(0, 24 * 40)


@given(
    borders=st.sets(HOURS, min_size=2, max_size=8).map(sorted),
    days=st.sets(st.integers(0, 40)),
    months=st.sets(st.sampled_from(["2024-01", "2024-02", "2024-03"])),
)
def test_every_moment_of_the_ranges_is_read_once_and_no_other(
    borders: list[int], days: set[int], months: set[str]
) -> None:
    spans = [
        TimeRange(START + a * 3_600_000, START + b * 3_600_000)
        for a, b in zip(borders[::2], borders[1::2], strict=False)
    ]
    starts = [START + day * DAY_MS for day in sorted(days)]
    files = [ArchiveFile(path=str(s), span=TimeRange(s, s + DAY_MS), size=1) for s in starts] + [*map(file, months)]
    found = readings(files, spans)
    read = [(part.start_ms, part.end_ms) for one in found for part in one.spans]
    assert read == sorted(read)
    hours = [hour for start, end in read for hour in range(start, end, 3_600_000)]
    assert hours == [hour for span in spans for hour in range(span.start_ms, span.end_ms, 3_600_000)]
    for one in found:
        if one.file is not None:
            assert all(part.intersection(one.file.span) == part for part in one.spans)
        else:
            assert not any(part.intersection(other.span) for part in one.spans for other in files)
    paths = [one.file.path for one in found if one.file is not None and one.file.path in {str(s) for s in starts}]
    assert len(paths) == len(set(paths))
