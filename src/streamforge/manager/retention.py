"""How long records are kept, by the name of their collection."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import msgspec

DAY_MS = 86_400_000


class Keep(msgspec.Struct, frozen=True):
    """Collections whose name matches `pattern` are kept until their newest record is `days` old."""

    pattern: str
    days: int

    setting_form = "PATTERN=DAYS"

    @classmethod
    def parse_setting(cls, text: str) -> Keep:
        """Read `PATTERN=DAYS`, as in `*_1m_*=365`."""
        pattern, equals, days = text.rpartition("=")
        number = days.removesuffix("d")
        if not pattern or not equals or not number.isdecimal() or int(number) < 1:
            raise ValueError(f"{text[:80]!r} has not the form PATTERN=DAYS")
        return cls(pattern, int(number))


def kept_ms(keeps: Sequence[Keep], collection: str) -> int | None:
    """How long the collection's records are kept, milliseconds; the first that matches counts. None: for ever."""
    for keep in keeps:
        if fnmatchcase(collection, keep.pattern):
            return keep.days * DAY_MS
    return None
