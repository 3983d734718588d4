"""Volumes at their own paths, for one process only."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.engines.kubernetes.kubelet.mounting import Mount, Mounter


def _run(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize("path", ["/etc/streamforge-test/deep", "/var/run/secrets/streamforge-test"])
def test_a_mount_is_seen_by_its_process_alone(path: str, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "file").write_text("content")
    mount = Mount(tmp_path / "volume", path)
    command = Mounter.probe().around(["cat", f"{path}/file"], [mount], tmp_path / "scratch")
    assert _run(command) == "content"
    assert not Path(path).exists()


def test_what_was_above_a_mount_is_still_there(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    mount = Mount(tmp_path / "volume", "/etc/streamforge-test")
    command = Mounter.probe().around(["cat", "/etc/passwd"], [mount], tmp_path / "scratch")
    assert _run(command) == Path("/etc/passwd").read_text()


def test_a_mount_in_a_mount_and_a_single_file(tmp_path: Path) -> None:
    for name in ("outer", "inner"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    mounts = [
        Mount(tmp_path / "inner", "/etc/streamforge-test/below"),
        Mount(tmp_path / "outer", "/etc/streamforge-test"),
        Mount(tmp_path / "outer" / "file", "/etc/hostname"),
    ]
    files = ["/etc/streamforge-test/file", "/etc/streamforge-test/below/file", "/etc/hostname"]
    assert _run(Mounter.probe().around(["cat", *files], mounts, tmp_path / "scratch")) == "outerinnerouter"


@pytest.mark.parametrize("path", ["/streamforge-test", "/tmp", "/"])
def test_nothing_is_mounted_over_what_we_run_from(path: str, tmp_path: Path) -> None:
    command = Mounter.probe().around(["true"], [Mount(tmp_path, path)], tmp_path / "scratch")
    assert command == ["true"]


def test_without_namespaces_the_command_stays_as_it_is(tmp_path: Path) -> None:
    assert Mounter(()).around(["cat"], [Mount(tmp_path, "/etc/x")], tmp_path / "scratch") == ["cat"]
