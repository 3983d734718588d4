"""The end of a log: bounded, in whole lines, nothing that steers a terminal."""

from __future__ import annotations

import pytest

from streamforge_utils.ports.job_log import LOG_BYTES, LOG_LINES, log_end


@pytest.mark.parametrize(
    ("written", "cut", "end"),
    [
        (b"", False, ""),
        (b"one\ntwo\n", False, "one\ntwo\n"),
        (b"one\ntwo", False, "one\ntwo"),
        (b"ne\ntwo\n", True, "two\n"),
        (b"half of one line", True, ""),
        (b"\x1b[31mred\x00\tand \xff\n", False, "[31mred\tand \ufffd\n"),
        (b"x" * (LOG_BYTES + 1), False, ""),
        (b"first\n" + b"y" * (LOG_BYTES - 1) + b"\n", False, ""),
        (b"first\n" + b"y" * (LOG_BYTES - 2) + b"\n", False, "y" * (LOG_BYTES - 2) + "\n"),
    ],
    ids=["nothing", "all", "no end", "cut", "cut in a line", "control", "long", "fills it", "the last line"],
)
def test_the_end_is_whole_lines_that_fit(written: bytes, cut: bool, end: str) -> None:
    assert log_end(written, cut=cut) == end


def test_only_the_last_lines_are_given() -> None:
    lines = [f"line {number}\n" for number in range(LOG_LINES + 7)]
    assert log_end("".join(lines).encode()) == "".join(lines[7:])
