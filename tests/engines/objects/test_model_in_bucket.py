"""Models whose files lie on a real S3 server: made by two at once, with a server that dies or is full as one is put."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streamforge import wiring
from streamforge.analytics.models.model_manifest import ModelManifest
from streamforge.workers import gnn_trainer
from streamforge_utils.ports.object_store import ObjectInfo
from streamforge_utils.runtime.life.settings import DataSettings
from tests.contracts.objects import digest, names
from tests.e2e import rig
from tests.e2e.test_models import COINS, asked, got
from tests.e2e.test_models import exchange as exchange
from tests.engines.kafka.disk import SmallDisk
from tests.engines.objects.gateway import BUCKET, Gateway
from tests.engines.objects.one_at_a_time import OneAtATime
from tests.engines.objects.test_object_bucket import gateway as gateway
from tests.workers.test_gnn_trainer import whole as whole
from tests.workers.trainer_rig import Objects, TrainerRig

DISK_MB = 16


class Breaking(Objects):
    """Objects of a server to which something happens once the predictions are there."""

    def __init__(self, folder: Path, after: Callable[[], object]) -> None:
        super().__init__(folder)
        self._after = after

    async def put(self, name: str, content: bytes | Path, *, expected: str | None = None) -> ObjectInfo:
        found = await super().put(name, content, expected=expected)
        if name.endswith("predictions.parquet"):
            self._after()
        return found


class InBucket(TrainerRig):
    """A gnn-trainer whose objects are on the server, below `prefix`."""

    def __init__(
        self, folder: Path, gateway: Gateway, prefix: str, after: Callable[[], object] = dict, **other: str
    ) -> None:
        super().__init__(folder)
        self.objects = Breaking(folder, after)
        self.objects.inner = wiring.make_object_store(gateway.settings(prefix, **other), DataSettings())

    async def begun(self) -> None:
        await self.prepare()
        await self.fill()


async def test_two_that_publish_it_at_once_publish_the_one_that_a_folder_has(
    gateway: Gateway, tmp_path: Path, whole: ModelManifest
) -> None:
    with OneAtATime(gateway.port) as way:
        both = [InBucket(tmp_path / name, gateway, "race", endpoint=way.url) for name in ("left", "right")]
        for one in both:
            await one.begun()
        assert await asyncio.gather(*(one.live(gnn_trainer.DEFINITION) for one in both)) == [0, 0]
        for one in both:
            assert await one.manifest() == whole
        for file in whole.files.values():
            assert digest(await both[0].content(file.name)) == file.sha256
        assert not [name for name in await both[0].names() if "/checkpoints/" in name]
        for one in both:
            await one.close()


async def broken_and_mended(builder: InBucket, whole: ModelManifest, mend: Callable[[], object], error: str) -> None:
    """What happens as the model is put is told, no model is there then; mended it is as if nothing had been."""
    await builder.begun()
    assert await builder.live(gnn_trainer.DEFINITION) == 1
    mend()
    event = [one for one in await builder.events() if one.event == "error"][-1]
    assert "models/m/" in (event.error_message or "")
    assert error in (event.error_message or "")
    there = await names(builder.objects, "models/m/")
    assert any(name.endswith("predictions.parquet") for name in there)
    assert not any(name.endswith("manifest.json") for name in there)
    builder.environment["STREAMFORGE_ATTEMPT"] = "2"
    assert await builder.live(gnn_trainer.DEFINITION) == 0
    assert await builder.manifest() == whole
    await builder.close()


async def test_a_server_that_dies_as_it_is_published_is_told_and_shows_no_model(
    tmp_path: Path, whole: ModelManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gnn_trainer, "PATIENCE_S", 0.0)
    server = Gateway(tmp_path / "server")
    server.start()
    try:
        builder = InBucket(tmp_path / "own", server, "dies", after=server.process.kill)
        await broken_and_mended(
            builder, whole, server.start, "is the server up, the address in STREAMFORGE_S3_ENDPOINT"
        )
    finally:
        server.process.stop()


async def test_a_server_that_is_full_as_it_is_published_is_told_and_shows_no_model(
    tmp_path: Path, whole: ModelManifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gnn_trainer, "PATIENCE_S", 0.0)
    server = Gateway(tmp_path / "server")
    with SmallDisk(tmp_path / "server", size_mb=DISK_MB) as disk:
        server.on(disk)
        server.start()
        try:
            builder = InBucket(tmp_path / "own", server, "full", after=disk.fill)
            await broken_and_mended(builder, whole, disk.empty, "no room is left: make room on the server")
        finally:
            server.process.stop()


@pytest.fixture
def manager(gateway: Gateway, exchange: rig.Exchange, tmp_path: Path) -> Iterator[rig.Manager]:
    with rig.manager(tmp_path / "data", exchange.url, **gateway.environment(f"managed/{tmp_path.name}")) as found:
        yield found


def test_it_is_published_shown_and_removed_in_a_bucket(manager: rig.Manager, gateway: Gateway, tmp_path: Path) -> None:
    manager.finished(asked(manager, load_missing=True))
    (listed,) = got(manager, "/models")["models"]
    shown = got(manager, "/models/m")
    assert (listed["model"], listed["outcome"]) == ("m", got(manager, "/models/m/card")["verdict"]["outcome"])
    assert (shown["symbols"], len(shown["files"])) == (len(COINS), 5)
    place = gateway.buckets / BUCKET / "managed" / tmp_path.name
    assert {digest((place / one["name"]).read_bytes()) for one in shown["files"]} == {
        one["sha256"] for one in shown["files"]
    }
    assert not (manager.data / "objects").exists()
    assert manager.api.delete("/models/m").raise_for_status().json()["objects_removed"] == 6
    assert manager.api.get("/models/m").status_code == 404
    assert not list(place.glob("models/**/*.*"))
