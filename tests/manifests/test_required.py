"""What manifests are checked with is there; else tests skip and say what to do, or fail where it is required."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.manifests import rendering
from tests.manifests.schemas import schemas_folder
from tools import manifests


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without kubectl and schemas, where neither is required."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("STREAMFORGE_SCHEMAS", str(tmp_path / "schemas"))
    for name in ("STREAMFORGE_REQUIRE_KUBECTL", "STREAMFORGE_REQUIRE_SCHEMAS", "STREAMFORGE_REQUIRE_MARKET_DATA"):
        monkeypatch.delenv(name, raising=False)
    rendering._built.cache_clear()


def test_a_missing_kubectl_fails_where_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(pytest.skip.Exception, match="make kube-build ONLY=kubectl"):
        rendering.rendered("production")
    monkeypatch.setenv("STREAMFORGE_REQUIRE_KUBECTL", "1")
    with pytest.raises(manifests.ManifestError, match="kustomize is missing"):
        rendering.rendered("production")


def test_missing_schemas_fail_where_they_are_required(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(pytest.skip.Exception, match="set STREAMFORGE_SCHEMAS to their folder"):
        schemas_folder()
    monkeypatch.setenv("STREAMFORGE_REQUIRE_MARKET_DATA", "1")
    with pytest.raises(pytest.skip.Exception):
        schemas_folder()
    monkeypatch.setenv("STREAMFORGE_REQUIRE_SCHEMAS", "1")
    with pytest.raises(pytest.fail.Exception, match="set STREAMFORGE_SCHEMAS"):
        schemas_folder()
