"""Variables in command lines, and paths of a container, mapped to its root."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.kubernetes.kubelet.pod_values import command_line, expanded
from tests.engines.kubernetes.kubelet.volumes import rewriter


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("$(A)", "one"),
        ("x$(A)y$(B)", "xoney$(B)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$one"),
        ("$A ${A}", "$A ${A}"),
        ("100$", "100$"),
    ],
)
def test_a_reference_is_replaced_only_if_it_is_known(text: str, wanted: str) -> None:
    assert expanded(text, {"A": "one"}) == wanted
    assert command_line({"args": [text]}, ["python"], {"A": "one"}) == ["python", wanted]
    assert command_line({"command": ["sh", text]}, ["python"], {"A": "one"}) == ["sh", wanted]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("/etc/kafka", "/r/etc/kafka"),
        ("--ca=/etc/kafka/ca.crt,/etc/kafka", "--ca=/r/etc/kafka/ca.crt,/r/etc/kafka"),
        ("cat '/etc/kafka/a' > /data/b; ls /data", "cat '/r/etc/kafka/a' > /r/data/b; ls /r/data"),
        ("/data/below/c:/data/c", "/r/data/below/c:/r/data/c"),
        ("/etc/kafka-other", "/etc/kafka-other"),
        ("/mnt/etc/kafka", "/mnt/etc/kafka"),
        ("https://host/etc/kafka", "https://host/etc/kafka"),
        ("/data.old", "/data.old"),
    ],
)
def test_a_mount_path_is_rewritten_where_it_stands_as_a_path(text: str, wanted: str) -> None:
    assert rewriter(Path("/r"), ["/etc/kafka", "/data/", "/data/below"])(text) == wanted
    assert rewriter(Path("/r"), [])(text) == text
