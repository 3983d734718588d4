"""`make manifests` writes what is shipped, all of it and nothing else, or says what is missing.

What manifests are checked with is there; else tests skip and say what to do, or fail where it is required.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.manifests import rendering
from tests.manifests.schemas import schemas_folder
from tests.places import ROOT
from tools import manifests
from tools.manuals.repository import Repository


def checkout(folder: Path) -> Path:
    """A repository with an overlay, a manifest, and YAML that is none."""
    for path, text in {
        "deploy/overlays/dev/kustomization.yaml": "resources: []\n",
        "cred-kafka-yaml/topic.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: topic}\n",
        "services/sink/job.yaml": "# a comment\napiVersion: batch/v1\nkind: Job\n---\napiVersion: v1\nkind: Pod\n",
        "services/sink/settings.yaml": "colour: blue\n",
        "services/sink/empty.yaml": "",
        "platform/hub/values.yaml": "hub: {}\n",
        "platform/hub/rights/kustomization.yaml": "resources: [role.yaml, more]\n",
        "platform/hub/rights/role.yaml": "apiVersion: v1\nkind: Role\n",
        "platform/hub/rights/more/kustomization.yaml": "resources: []\n",
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def command(folder: Path, script: str) -> list[str]:
    program = folder / "kustomize"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return [str(program)]


def test_every_overlay_and_every_manifest_becomes_one_file(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    found = manifests.texts(command(tmp_path, 'echo "apiVersion: v1"; echo "kind: Namespace # $1"'), root)
    assert found == {
        "deploy-dev.yaml": "apiVersion: v1\nkind: Namespace # deploy/overlays/dev\n",
        "platform-hub-rights.yaml": "apiVersion: v1\nkind: Namespace # platform/hub/rights\n",
        "cred-kafka-yaml-topic.yaml": (root / "cred-kafka-yaml/topic.yaml").read_text(),
        "services-sink-job.yaml": (root / "services/sink/job.yaml").read_text(),
    }


def test_the_names_are_known_before_anything_is_built(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    assert manifests.names(root) == list(manifests.texts(command(tmp_path, "echo"), root))


def test_what_is_no_longer_shipped_does_not_stay(tmp_path: Path) -> None:
    output = tmp_path / "build" / "manifests"
    manifests.write({"old.yaml": "1", "both.yaml": "2"}, output)
    manifests.write({"both.yaml": "3"}, output)
    assert {path.name: path.read_text() for path in output.iterdir()} == {"both.yaml": "3"}
    assert [path.name for path in output.parent.iterdir()] == ["manifests"]


def test_what_kustomize_complains_of_is_told(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    with pytest.raises(manifests.ManifestError, match=r"deploy/overlays/dev.*no such resource"):
        manifests.texts(command(tmp_path, "echo no such resource >&2; exit 1"), root)


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    (root / "services/sink/pod.yaml").write_text("kind: [\n")
    with pytest.raises(manifests.ManifestError, match=r"services/sink/pod\.yaml: it is no YAML"):
        list(manifests.plain(root))


def test_without_kustomize_it_says_what_to_install_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert manifests.main(["--output", str(tmp_path / "out")]) == 1
    assert "put kubectl" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_repository_ships_its_overlays_and_those_of_kafka() -> None:
    assert manifests.overlays() == ["dev", "production", "production-gateway"]
    names = {path.name for path in manifests.plain()}
    assert {"kafka.yaml", "topic-queue-control.yaml", "user-streamforge.yaml"} <= names


def test_every_manifest_of_the_repository_is_shipped_by_itself_or_in_an_overlay() -> None:
    shipped = set(manifests.plain()).union(*(_parts(folder) for folder in manifests.kustomizations()))
    found = [ROOT / file for file in Repository(ROOT).files if file.endswith((".yaml", ".yml"))]
    there = {path for path in found if ROOT / "tests" not in path.parents and _is_manifest(path)}
    assert there >= {ROOT / "deploy/cluster/namespace.yaml", ROOT / "deploy/components/ingress/ingress.yaml"}
    assert there - shipped == set()


def _is_manifest(path: Path) -> bool:
    text = path.read_text("utf-8")
    return all(f"\n{field}: " in f"\n{text}" for field in ("apiVersion", "kind"))


def _parts(folder: Path) -> Iterator[Path]:
    """The files that kustomize reads as resources to build `folder`."""
    own = folder / "kustomization.yaml"
    yield own
    told = yaml.safe_load(own.read_text("utf-8"))
    for name in (*told.get("resources", []), *told.get("components", [])):
        path = (folder / name).resolve()
        yield from _parts(path) if path.is_dir() else [path]


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine without kubectl and schemas, where neither is required."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("STREAMFORGE_SCHEMAS", str(tmp_path / "schemas"))
    for name in ("STREAMFORGE_REQUIRE_KUBECTL", "STREAMFORGE_REQUIRE_SCHEMAS", "STREAMFORGE_REQUIRE_MARKET_DATA"):
        monkeypatch.delenv(name, raising=False)
    rendering._built.cache_clear()
    return monkeypatch


def test_a_missing_kubectl_fails_where_it_is_required(bare: pytest.MonkeyPatch) -> None:
    with pytest.raises(pytest.skip.Exception, match="make kube-build ONLY=kubectl"):
        rendering.rendered("production")
    bare.setenv("STREAMFORGE_REQUIRE_KUBECTL", "1")
    with pytest.raises(manifests.ManifestError, match="kustomize is missing"):
        rendering.rendered("production")


def test_missing_schemas_fail_where_they_are_required(bare: pytest.MonkeyPatch) -> None:
    with pytest.raises(pytest.skip.Exception, match="set STREAMFORGE_SCHEMAS to their folder"):
        schemas_folder()
    bare.setenv("STREAMFORGE_REQUIRE_MARKET_DATA", "1")
    with pytest.raises(pytest.skip.Exception):
        schemas_folder()
    bare.setenv("STREAMFORGE_REQUIRE_SCHEMAS", "1")
    with pytest.raises(pytest.fail.Exception, match="set STREAMFORGE_SCHEMAS"):
        schemas_folder()
