"""What a backup has of objects, and what it reports of those that it lacks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from tests.cli.support import Cli

NAME = "depth/BTCUSDT/000000000001.jsonl.gz"


def test_objects_of_another_folder_are_in_the_copy_and_where_they_come_to_is_told(
    copied: Cli, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, saved, again = tmp_path / "there", tmp_path / "saved", tmp_path / "again"
    asyncio.run(ObjectFolder(there).put(NAME, b"diffs"))
    monkeypatch.setenv("STREAMFORGE_OBJECTS_URL", str(there))
    assert "objects" not in copied("backup", str(saved)).ok().err
    told = Cli(capsys, again)("restore", str(saved)).ok().err
    assert f"objects are in {again / 'objects'}, and STREAMFORGE_OBJECTS_URL names {there}: put them there" in told
    assert (again / "objects" / NAME).read_bytes() == b"diffs"


def test_that_a_bucket_is_not_in_the_copy_is_told(copied: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMFORGE_OBJECTS_URL", "s3://bucket/stf")
    monkeypatch.setenv("STREAMFORGE_S3_ACCESS_KEY", "id")
    monkeypatch.setenv("STREAMFORGE_S3_SECRET_KEY", "secret")
    told = copied("backup", str(tmp_path / "saved")).ok().err
    assert "data sets) are in s3://bucket/stf, not in it: copy them, too" in told
