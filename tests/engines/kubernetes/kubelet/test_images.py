"""What stands for an image."""

from __future__ import annotations

import sys

import pytest

from tests.engines.kubernetes.kubelet.images import ImageMissing, find


@pytest.mark.parametrize(
    "image",
    [
        "registry.example/streamforge/arango-candles:1.2.3",
        "registry.example:5000/streamforge/arango-candles",
        "arango-candles@sha256:0123",
    ],
)
def test_a_target_is_run_by_its_module(image: str) -> None:
    assert find(image, has_command=False).command == (sys.executable, "-m", "streamforge.workers", "arango-candles")


def test_another_service_is_run_in_its_folder() -> None:
    found = find("registry.example/streamforge/queue-manager:1", has_command=False)
    assert found.command == (sys.executable, "-m", "app.main")
    assert found.folder is not None
    assert found.folder.name == "queue-manager"


def test_an_image_with_a_command_of_its_own_may_be_any() -> None:
    assert find("busybox", has_command=True).command == ()


def test_pause_does_nothing_unless_it_is_given_something_to_do() -> None:
    assert find("registry.example/pause:3.10", has_command=False).idle
    assert not find("registry.example/pause:3.10", has_command=True).idle


@pytest.mark.parametrize(("image", "has_command"), [("busybox:1", False), ("x/busybox:missing", True)])
def test_an_image_that_is_nowhere_is_missing(image: str, has_command: bool) -> None:
    with pytest.raises(ImageMissing, match="not found"):
        find(image, has_command=has_command)
