"""The manifests that kustomize builds of deploy/, once per process; without kustomize the tests skip, and say so.

`make test-engines` runs the same rules on every shipped manifest with a kubectl of its own, and never skips.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import pytest

from tools import manifests

Json = dict[str, Any]


def rendered(overlay: str) -> list[Json]:
    """The objects of an overlay."""
    return _objects(f"{manifests.OVERLAYS}/{overlay}")


def rendered_cluster() -> list[Json]:
    """The objects that are there before any overlay."""
    return _objects("deploy/cluster")


def _objects(folder: str) -> list[Json]:
    try:
        return manifests.objects(_built(folder), folder)
    except manifests.ManifestError as error:
        if "missing" in str(error) and os.environ.get("STREAMFORGE_REQUIRE_KUBECTL") != "1":
            pytest.skip(str(error))
        raise


@functools.cache
def _built(folder: str) -> str:
    return manifests.build(manifests.builder(), manifests.ROOT / folder)
