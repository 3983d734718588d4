"""The build of the control plane, with a stand-in for Go: when it happens, and what is left of it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.engines.kubernetes import binaries
from tests.engines.process import EngineError

# `go build … -o FOLDER/ PACKAGE` writes a file; what it was asked for is noted.
_GO = """#!/bin/sh
for last; do :; done
echo "$GOCACHE $last" >> "$GO_NOTES"
[ -z "$GO_FAILS" ] || { echo "no space left"; exit 1; }
while [ "$1" != -o ]; do shift; done
mkdir -p "$2" "$GOCACHE"
echo built > "$2/$(basename "$last")"
"""


def _silent(text: str) -> None:
    pass


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the stand-in was asked for; everything is built below `tmp_path`."""
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text(_GO)
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{go.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("GO_NOTES", str(tmp_path / "notes"))
    return tmp_path / "notes"


def test_it_is_built_once_however_many_want_it(notes: Path) -> None:
    told = list[str]()
    with ThreadPoolExecutor(4) as pool:
        (folder,) = set(pool.map(lambda number: binaries.build(told.append), range(4)))
    assert folder == binaries.folder()
    assert sorted(path.name for path in folder.iterdir()) == sorted(binaries.COMMANDS)
    assert f"building Kubernetes {binaries.version()} once" in told[0]
    assert [line.rpartition("/")[2] for line in notes.read_text().split("\n")[:-1]] == list(binaries.COMMANDS)
    # Neither what was compiled nor half a build is left.
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name, f"{folder.name}.lock"]


def test_one_command_is_built_alone_and_taken_from_the_rest_where_that_is_there(notes: Path) -> None:
    assert binaries.built("kubectl") is None
    alone = binaries.build(_silent, ["kubectl"])
    assert [path.name for path in alone.iterdir()] == ["kubectl"]
    assert binaries.built("kubectl") == alone / "kubectl"
    assert binaries.built("kube-apiserver") is None

    everything = binaries.build(_silent)
    assert binaries.built("kubectl") == everything / "kubectl"
    assert binaries.build(_silent, ["kubectl"]) == everything
    assert len(notes.read_text().splitlines()) == 1 + len(binaries.COMMANDS)


def test_a_build_that_failed_says_why_and_can_be_tried_again(notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GO_FAILS", "1")
    with pytest.raises(EngineError, match=r"(?s)kube-apiserver could not be built.*no space left"):
        binaries.build(_silent)
    assert not binaries.folder().exists()
    with monkeypatch.context() as without:
        without.setenv("PATH", "/nowhere")
        with pytest.raises(EngineError, match=r"install Go 1\.26"):
            binaries.build(_silent)
        with pytest.raises(EngineError, match="etcd-server"):
            binaries.etcd()
    monkeypatch.delenv("GO_FAILS")
    assert binaries.build(_silent).is_dir()
