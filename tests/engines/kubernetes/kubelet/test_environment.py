"""Variables in variables and in command lines."""

from __future__ import annotations

import pytest

from tests.engines.kubernetes.kubelet.environment import command_line, expanded
from tests.engines.kubernetes.kubelet.fields import field, quantity, resource
from tests.engines.kubernetes.kubelet.sources import SourceMissing


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


def test_a_command_replaces_the_entry_point_and_arguments_follow() -> None:
    values = {"N": "3"}
    assert command_line({"args": ["--n=$(N)"]}, ["python", "-m", "x"], values) == ["python", "-m", "x", "--n=3"]
    assert command_line({"command": ["sh", "$(N)"]}, ["python"], values) == ["sh", "3"]


def test_a_pod_is_told_about_itself() -> None:
    pod = {
        "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"app": "x", "queue/id": "7"}},
        "spec": {"nodeName": "node-1", "serviceAccountName": "default"},
    }
    assert field(pod, "metadata.labels['queue/id']", "127.0.0.1") == "7"
    assert field(pod, "metadata.labels", "127.0.0.1") == 'app="x"\nqueue/id="7"'
    assert field(pod, "metadata.annotations['none']", "127.0.0.1") == ""
    assert field(pod, "spec.nodeName", "127.0.0.1") == "node-1"
    assert field(pod, "status.hostIP", "127.0.0.1") == "127.0.0.1"
    with pytest.raises(SourceMissing, match=r"spec\.other is not supported"):
        field(pod, "spec.other", "127.0.0.1")


def test_resources_are_told_in_the_unit_that_is_asked_for() -> None:
    container = {"resources": {"limits": {"memory": "512Mi", "cpu": "250m"}}}
    assert resource(container, "limits.memory", "1Mi") == "512"
    assert resource(container, "limits.memory", "0") == str(512 * 2**20)
    assert resource(container, "limits.cpu", "1") == "1"
    assert resource(container, "limits.cpu", "1m") == "250"
    assert quantity("1.5Gi") == 1.5 * 2**30
    with pytest.raises(SourceMissing):
        resource(container, "requests.cpu", "1")
