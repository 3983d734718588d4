"""What an examination of a technology finds: whether it could be used."""

from __future__ import annotations

import msgspec


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at. verdict: `works`, `careful` or `fails`; next_step: what to do, unless it works."""

    part: str
    verdict: str
    detail: str
    next_step: str = ""
