"""docs/how-to/python.md: its snippets run as they stand there, and do what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import manager
from tests.manifests.schemas import ROOT

pytestmark = pytest.mark.e2e


def test_the_snippets_load_and_read_a_day(tmp_path: Path, exchange_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    snippets = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "docs/how-to/python.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    names: dict[str, Any] = {}
    with manager(tmp_path / "data", exchange_url) as (_, told):
        monkeypatch.setenv("STREAMFORGE_URL", told["url"])
        for snippet in snippets:
            exec(snippet, names)
    assert (names["outcome"].records_stored, len(names["series"].frame), names["series"].complete) == (1440, 1440, True)
    assert (len(names["hours"].frame), names["hours"].complete) == (120, False)
    assert [(hole.start, hole.verdict) for hole in names["hours"].holes] == [("2024-08-02T00:00:00Z", "unknown")]
