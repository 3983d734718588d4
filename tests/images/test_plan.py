"""The plan of `make images`: commands, names and tags, without building anything."""

from __future__ import annotations

import pytest

from tests.places import ROOT
from tools import images
from tools.images import Commit, Plan

COMMIT = Commit("0123456789abcdef0123456789abcdef01234567", 1_750_000_000)


def plan(builder: str = "buildah") -> Plan:
    return Plan(builder, "registry.example", COMMIT, debian="debian@sha256:1", options=["--network", "host"])


def image(name: str, *, lean: bool = False) -> images.Image:
    return next(one for one in images.images(lean=lean) if one.name == name)


def command(name: str, builder: str = "buildah", *, lean: bool = False) -> str:
    everything = {one.name: one for one in images.images(lean=lean)}
    return " ".join(plan(builder).build(everything[name], everything))


def test_every_service_has_an_image_and_each_comes_after_what_it_is_built_on() -> None:
    found = images.images()
    services = {path.name for path in (ROOT / "services").iterdir() if (path / "app").is_dir()}
    assert services <= {one.name for one in found}
    for place, one in enumerate(found):
        assert set(one.on.values()) <= {before.name for before in found[:place]}


def test_version_and_commit_are_tags_and_the_base_alone_is_the_latest() -> None:
    base, number = "registry.example/kinga/stream-forge/base", images.version()
    assert plan().tags(image("base")) == [f"{base}:{number}", f"{base}:01234567", f"{base}:latest"]
    assert plan().tags(image("base-lean")) == [f"{base}:{number}-lean", f"{base}:01234567-lean"]
    assert plan().tags(image("jupyter"))[0] == "registry.example/streamforge/core-modules/jupyter-python311:v0.0.2"


def test_the_base_is_built_on_debian_and_a_service_on_the_base() -> None:
    assert "--build-arg BASE_IMAGE=debian@sha256:1" in command("base")
    base = f"registry.example/kinga/stream-forge/base:{images.version()}"
    assert f"--build-arg BASE_IMAGE={base} --build-arg TOOLS_IMAGE={base} " in command("queue-manager")
    assert f"--build-arg BASE_IMAGE={base}-lean --build-arg TOOLS_IMAGE={base} " in command("queue-manager", lean=True)
    assert command("queue-manager").endswith(" --network host .")


def test_times_are_the_commit_s_with_every_builder() -> None:
    for builder in ("buildah", "podman"):
        assert command("base", builder).startswith(
            f"{builder} build --file platform/Dockerfile --layers --timestamp 17500"
        )
    told = command("base", "docker")
    assert "--timestamp" not in told, "docker takes SOURCE_DATE_EPOCH"
    assert "--build-arg CREATED=2025-06-15T15:06:40Z" in told


def test_an_image_that_there_is_not_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        images.main(["--list", "bsae"])
    assert ended.value.code == 2
    assert "no image is called bsae; there are base, base-lean, arango-candles" in capsys.readouterr().err


def test_a_builder_that_is_not_there_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert images.main(["--revision", "1", "--created", "1", "base"]) == 1
    assert "none of buildah, podman, docker is on PATH: install one" in capsys.readouterr().err
