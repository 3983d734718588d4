"""The guide for backups as it is written: what comes back equals what there was, from files and from a database."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import guides
from tests.delivery.manuals import commands


@pytest.mark.timeout(480)
def test_a_restore_brings_back_every_workflow_event_and_record(tmp_path: Path) -> None:
    folder = guides.checkout(tmp_path / "checkout")
    environ = guides.environment(tmp_path / "home")
    with guides.opened("docs/backup.md", folder, environ, tmp_path) as guide:
        first, *others = guides.steps(guide.page, "One machine") + guides.steps(guide.page, "A drill")
        guide.step(first)
        # More than the page has, before the copy that counts: another series.
        commands.load(folder, environ, "ETHUSDT", "2024-08")
        commands.streamforge(folder, environ, "backup", "build/backups/99991231T000000Z")
        before = commands.everything(folder, environ)
        assert len(before["workflows"]) == 2
        assert all(len(events) >= 4 for events in before["events"].values())
        assert [len(rows) for rows in before["records"].values()] == [744, 744]
        for step in others:
            guide.step(step)
            if "build/data.damaged" in step.text:
                assert commands.everything(folder, environ) == before
    assert commands.everything(folder, environ, "build/drill") == before
