"""What can be said of any measurement without knowing the machine."""

from __future__ import annotations

import math

from benchmarks.common.measuring import Section

MOST = {
    "%": 10_000,
    "s": 600,
    "streams": 1000,
    "ms": 100_000,
    "MB": 500,
    "/s": 100_000,
    "times": 1000,
    "requests": 1000,
    "kB": 10_000,
    "elements": 100_000,
}
"""A wrong unit is a factor of a thousand; on a loaded machine one of two runs may well take twenty times longer."""
OF_GROWTH = 20
"""How many times more it may be, either way: a tiny run is too short for it to settle."""


def check_sane(section: Section) -> None:
    """Every line has a value that can be true."""
    assert section.lines
    for line in section.lines:
        if "per million" in line.what:  # worked out from a thousand or so
            assert math.isfinite(line.measured), line
            continue
        most = MOST[line.unit]
        least, most = (-OF_GROWTH * most, OF_GROWTH * most) if "growth" in line.what else (0, most)
        assert least < line.measured < most, line
