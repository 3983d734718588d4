"""What can be said of any measurement without knowing the machine."""

from __future__ import annotations

from benchmarks.common.measuring import Section

MOST = {"%": 400, "s": 30, "ms": 5000, "MB": 500, "/s": 100_000}


def check_sane(section: Section) -> None:
    """Every line has a value that can be true."""
    assert section.lines
    for line in section.lines:
        if "growth" not in line.what:
            assert 0 < line.measured < MOST[line.unit], line
