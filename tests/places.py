"""Where the tests find what they read: the repository, and what is recorded beside it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"


def market_data(*parts: str) -> Path:
    """A file or folder of the recorded market data (`STREAMFORGE_MARKET_DATA` names another place)."""
    return _present(Path(os.environ.get("STREAMFORGE_MARKET_DATA") or SHARED / "market-data").joinpath(*parts))


def arango_recordings() -> Path:
    """The recorded answers of ArangoDB servers (`STREAMFORGE_ARANGO_RECORDINGS` names another file)."""
    return _present(Path(os.environ.get("STREAMFORGE_ARANGO_RECORDINGS") or SHARED / "arango" / "recordings.jsonl"))


def schemas(*parts: str) -> Path:
    """A file or folder of the schemas of others' formats (`STREAMFORGE_SCHEMAS` names another place)."""
    return _present(Path(os.environ.get("STREAMFORGE_SCHEMAS") or SHARED / "schemas").joinpath(*parts))


def _present(path: Path) -> Path:
    """`path` itself; where it is absent the test skips, or fails if what is recorded is required."""
    if not path.exists():
        if os.environ.get("STREAMFORGE_REQUIRE_MARKET_DATA") == "1":
            pytest.fail(f"what is recorded is required, but {path} is absent")
        pytest.skip(f"what is recorded is absent: {path}")
    return path
