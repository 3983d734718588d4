"""A push to a real registry on loopback: names, digests, and layers that two images share."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.kubernetes.jobs import until
from tests.engines.process import EngineProcess, free_ports
from tests.images import programs
from tests.images.house import REVISION, House
from tests.images.storage import run
from tools import images

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Registry:
    """A registry that answers plainly, on loopback."""

    def __init__(self, folder: Path) -> None:
        (port,) = free_ports(1)
        self.address = f"127.0.0.1:{port}"
        configuration = {
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
            "http": {"addr": self.address},
        }
        (folder / "config.yml").write_text(json.dumps(configuration))
        command = [str(programs.registry()), "serve", str(folder / "config.yml")]
        self.process = EngineProcess("docker-registry", command, folder / "registry.log")
        self.process.start()
        until("the registry answers", lambda: self.ask("")[0] or None)

    def ask(self, path: str) -> tuple[str, Any]:
        """The digest of what it answers, and that."""
        request = urllib.request.Request(f"http://{self.address}/v2/{path}", headers={"Accept": MANIFEST})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.headers.get("Docker-Content-Digest", "there"), json.load(answer)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    found = Registry(tmp_path)
    yield found
    found.process.stop()


def test_images_are_pushed_by_version_and_commit_and_told_by_digest(
    house: House, registry: Registry, tmp_path: Path
) -> None:
    plain = tmp_path / "registries.conf"
    plain.write_text(f'[[registry]]\nlocation = "{registry.address}"\ninsecure = true\n')
    variables = {"CONTAINERS_REGISTRIES_CONF": str(plain)}
    house.build("base", "arango-candles", registry=registry.address, more=["--push"], variables=variables)
    layers = {}
    for name, tags in {
        "base": {images.version(), REVISION[:8], "latest"},
        "arango-candles": {images.version(), REVISION[:8]},
    }.items():
        told = json.loads((house.beside(registry.address) / f"{name}.json").read_text("utf-8"))
        repository, _, digest = told["pushed"].removeprefix(f"{registry.address}/").partition("@")
        assert set(registry.ask(f"{repository}/tags/list")[1]["tags"]) == tags
        for tag in tags:
            found, manifest = registry.ask(f"{repository}/manifests/{tag}")
            assert found == digest
            layers[name] = [layer["digest"] for layer in manifest["layers"]]
        # By its digest alone it can be had.
        run(["buildah", "pull", "--quiet", told["pushed"]], environment={**house.storage.environment, **variables})
    assert layers["arango-candles"][:-2] == layers["base"], "stored once"
