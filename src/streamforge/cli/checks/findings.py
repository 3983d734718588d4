"""What a check looks at, and what it says."""

from __future__ import annotations

from pathlib import Path

import msgspec

from streamforge.cli.session import Where
from streamforge_utils.ports.preflight import Finding


class Subject(msgspec.Struct, frozen=True):
    """What is checked. folder: of the data. probe: a folder on the same disk to try things in; it is removed."""

    where: Where
    folder: Path
    probe: Path


def works(part: str, detail: str, next_step: str = "") -> Finding:
    """The part works."""
    return Finding(part=part, verdict="works", detail=detail, next_step=next_step)


def careful(part: str, detail: str, next_step: str = "") -> Finding:
    """The part works, and something about it should be known."""
    return Finding(part=part, verdict="careful", detail=detail, next_step=next_step)


def fails(part: str, detail: str, next_step: str = "") -> Finding:
    """The part does not work."""
    return Finding(part=part, verdict="fails", detail=detail, next_step=next_step)


def nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())
