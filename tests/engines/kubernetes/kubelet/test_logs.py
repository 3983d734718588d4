"""What a container printed, and what of it is wanted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.engines.kubernetes.kubelet.logs import LogFile, Wanted, last_words

_LINES = [b"2026-01-01T00:00:0%d.000000Z line %d\n" % (n, n) for n in range(3)]


def test_lines_come_whole_however_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "0.log"
    log = LogFile(path)
    for piece in (b"on", b"e\ntwo\r\n", b"", b"\n", b"last"):
        log.write(piece)
    log.close()
    assert last_words(path) == "one\ntwo\r\n\nlast\n"


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, b"line 0\nline 1\nline 2\n"),
        ({"tailLines": "1"}, b"line 2\n"),
        ({"tailLines": "0"}, b""),
        ({"sinceTime": "2026-01-01T00:00:01Z"}, b"line 1\nline 2\n"),
        ({"sinceTime": "2026-01-01T00:00:01Z", "tailLines": "1", "timestamps": "true"}, _LINES[2]),
        ({"limitBytes": "9"}, b"line 0\nli"),
        ({"sinceSeconds": "60"}, b""),
    ],
)
def test_a_query_says_which_lines(query: dict[str, str], wanted: bytes) -> None:
    assert Wanted.of(query).of_lines(_LINES) == wanted


def test_what_was_just_printed_is_within_the_last_minute(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "0.log")
    log.write(b"now\n")
    log.close()
    with (tmp_path / "0.log").open("rb") as file:
        lines = file.readlines()
    assert Wanted(since=datetime.now(UTC) - timedelta(minutes=1)).of_lines(lines) == b"now\n"


def test_last_words_are_bounded(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "0.log")
    log.write(b"".join(b"%d\n" % n for n in range(1000)) + b"x" * 1500 + b"\n" + b"y" * 1500 + b"\n")
    log.close()
    found = last_words(tmp_path / "0.log")
    assert len(found) == 2048
    assert found.endswith("y\n")
    assert last_words(tmp_path / "none.log") == ""


@pytest.mark.parametrize("query", [{"tailLines": "x"}, {"sinceTime": "yesterday"}])
def test_a_query_that_means_nothing_is_refused(query: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"x|yesterday"):
        Wanted.of(query)
