"""The guide for backups where ArangoDB is the store, as it is written, on the double."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import guides
from tests.delivery.manuals import commands
from tests.doubles import arangoprocess


@pytest.mark.timeout(480)
def test_a_database_comes_back_whole_from_its_copy_as_json_lines(tmp_path: Path) -> None:
    folder = guides.checkout(tmp_path / "checkout")
    with arangoprocess.running(tmp_path / "arango") as arango:
        environ = guides.environment(tmp_path / "home") | arango.environment()
        commands.load(folder, environ, "BTCUSDT", "2024-07")
        commands.load(folder, environ, "ETHUSDT", "2024-08")
        before = commands.everything(folder, environ)
        assert [len(rows) for rows in before["records"].values()] == [744, 744]
        with guides.opened("docs/backup.md", folder, environ, tmp_path) as guide:
            for step in guides.steps(guide.page, "ArangoDB"):
                if "streamforge restore" in step.text:
                    arango.ask("DELETE", f"/_api/database/{arangoprocess.DATABASE}")
                    arango.ask("POST", "/_api/database", {"name": arangoprocess.DATABASE})
                guide.step(step)
        assert commands.everything(folder, environ, "build/elsewhere") == before
        # No manager's data are written over, and none while a manager lives.
        again = commands.refused(folder, environ, "restore", "build/database-backup")
        assert "the store is not empty" in again
        with commands.manager(folder, environ, "build/data"):
            assert "is managed by `streamforge` (process " in commands.refused(
                folder, environ, "restore", "build/database-backup"
            )
