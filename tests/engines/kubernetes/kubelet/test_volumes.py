"""Volumes at their own paths, for one process only."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.engines.kubernetes.kubelet.volumes import Mount, Mounter


def _run(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=360).stdout


def test_a_mount_in_a_mount_and_a_single_file(tmp_path: Path) -> None:
    for name in ("outer", "inner"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    mounts = [
        Mount(tmp_path / "inner", "/etc/streamforge-test/below"),
        Mount(tmp_path / "outer", "/etc/streamforge-test"),
        Mount(tmp_path / "outer" / "file", "/etc/hostname"),
    ]
    files = ["/etc/streamforge-test/file", "/etc/streamforge-test/below/file", "/etc/hostname", "/etc/passwd"]
    printed = _run(Mounter.probe().around(["cat", *files], mounts, tmp_path / "scratch"))
    assert printed == "outerinnerouter" + Path("/etc/passwd").read_text(), "what was above is still there"
    assert not Path("/etc/streamforge-test").exists(), "its process alone sees it"


@pytest.mark.parametrize("path", ["/streamforge-test", "/tmp", "/"])
def test_nothing_is_mounted_over_what_we_run_from(path: str, tmp_path: Path) -> None:
    command = Mounter.probe().around(["true"], [Mount(tmp_path, path)], tmp_path / "scratch")
    assert command == ["true"]


def test_without_namespaces_the_command_stays_as_it_is(tmp_path: Path) -> None:
    assert Mounter(()).around(["cat"], [Mount(tmp_path, "/etc/x")], tmp_path / "scratch") == ["cat"]
