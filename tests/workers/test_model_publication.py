"""A model that is published: nothing of it shows before all of it is there, and what is there stays."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from streamforge.analytics.models.model_manifest import ModelManifest
from streamforge.workers import gnn_trainer
from streamforge.workers.gnn_trainer import DEFINITION
from tests.workers.test_gnn_trainer import whole as whole
from tests.workers.trainer_rig import TrainerRig

pytestmark = pytest.mark.e2e


async def test_a_disk_that_is_full_shows_no_model_and_with_room_it_is_the_same(
    tmp_path: Path, whole: ModelManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = TrainerRig(tmp_path)
    await rig.prepare()
    await rig.fill()
    sync = os.fsync

    def full(number: int) -> None:
        if any(name.endswith("card.json") for name in rig.objects.put_names):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(number)

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        broken.setattr(gnn_trainer, "PATIENCE_S", 0.0)
        said = await rig.refused(1)
    assert "models/m/" in said
    assert "no room is left" in said
    assert "make room on that disk" in said
    rig.environment["STREAMFORGE_ATTEMPT"] = "2"
    assert await rig.live(DEFINITION) == 0
    assert await rig.manifest() == whole
    await rig.close()


async def test_another_model_of_the_same_run_stays_and_what_differs_is_told(
    tmp_path: Path, whole: ModelManifest
) -> None:
    rig = TrainerRig(tmp_path)
    await rig.prepare()
    await rig.fill()
    name = whole.files["predictions.parquet"].name
    await rig.objects.put(name, b"of other versions")
    said = await rig.refused(1)
    for part in (name, "with 17 bytes", "streamforge models rm m", whole.files["predictions.parquet"].sha256[:12]):
        assert part in said
    assert await rig.content(name) == b"of other versions"
    await rig.objects.delete([name])
    rig.environment["STREAMFORGE_ATTEMPT"] = "2"
    assert await rig.live(DEFINITION) == 0
    assert await rig.manifest() == whole
    await rig.close()
