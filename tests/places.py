"""Places of the files that tests read: the repository, and recordings beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"


def market_data(*parts: str) -> Path:
    """A file or folder of the recorded market data (`STREAMFORGE_MARKET_DATA` names another place)."""
    return _present("STREAMFORGE_MARKET_DATA", SHARED / "market-data", *parts)


def arango_recordings() -> Path:
    """The recorded answers of ArangoDB servers (`STREAMFORGE_ARANGO_RECORDINGS` names another file)."""
    return _present("STREAMFORGE_ARANGO_RECORDINGS", SHARED / "arango" / "recordings.jsonl")


def schemas(*parts: str) -> Path:
    """A file or folder of the schemas of others' formats (`STREAMFORGE_SCHEMAS` names another place)."""
    return _present("STREAMFORGE_SCHEMAS", SHARED / "schemas", *parts, required="STREAMFORGE_REQUIRE_SCHEMAS")


def _present(variable: str, default: Path, *parts: str, required: str = "STREAMFORGE_REQUIRE_MARKET_DATA") -> Path:
    """What is there; where it is absent the test skips, or fails if it is required."""
    path = Path(os.environ.get(variable) or default).joinpath(*parts)
    if not path.exists():
        what = "file" if default.suffix else "folder"
        absent = f"{path} is absent: set {variable} to their {what}"
        if os.environ.get(required) == "1":
            pytest.fail(f"{absent}; {required} asks for it")
        pytest.skip(absent)
    return path
