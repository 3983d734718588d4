"""Paths of a container, mapped to its root."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.kubernetes.kubelet.volumes import rewriter

_ROOT = Path("/r")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("/etc/kafka", "/r/etc/kafka"),
        ("/etc/kafka/ca.crt", "/r/etc/kafka/ca.crt"),
        ("--ca=/etc/kafka/ca.crt,/etc/kafka", "--ca=/r/etc/kafka/ca.crt,/r/etc/kafka"),
        ("cat '/etc/kafka/a' > /data/b; ls /data", "cat '/r/etc/kafka/a' > /r/data/b; ls /r/data"),
        ("/etc/kafka-other", "/etc/kafka-other"),
        ("/mnt/etc/kafka", "/mnt/etc/kafka"),
        ("https://host/etc/kafka", "https://host/etc/kafka"),
        ("/data.old", "/data.old"),
        ("nothing", "nothing"),
    ],
)
def test_a_mount_path_is_rewritten_where_it_stands_as_a_path(text: str, wanted: str) -> None:
    assert rewriter(_ROOT, ["/etc/kafka", "/data/"])(text) == wanted


def test_the_longer_of_two_paths_counts() -> None:
    assert rewriter(_ROOT, ["/a", "/a/b"])("/a/b/c:/a/c") == "/r/a/b/c:/r/a/c"


def test_without_mounts_nothing_is_rewritten() -> None:
    assert rewriter(_ROOT, [])("/etc/kafka") == "/etc/kafka"
