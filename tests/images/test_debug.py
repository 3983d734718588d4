"""The debug image: its programs, and its pod as docs/how-to/debugging.md starts it, in a *restricted* namespace."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from tests.engines.crun import Asked, run
from tests.engines.kafka.broker import Broker
from tests.engines.kubernetes import binaries
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.house import NAMESPACE, prepared
from tests.engines.kubernetes.jobs import Namespace, until
from tests.images import programs
from tests.images.house import House
from tests.places import ROOT

PAGE = ROOT / "docs" / "how-to" / "debugging.md"
LOOK = """set -e
id -u
kubectl get pods -o name
kubectl auth can-i list secrets || true
kubectl delete pod streamforge-debug 2>&1 || true
if touch /written 2>&1; then echo written; fi
helm version --short
streamforge --version"""


def test_every_program_is_there_and_runs(house: House, tmp_path: Path) -> None:
    script = """set -e
    kubectl version --client --output=json | jq -r .clientVersion.gitVersion
    helm version --template '{{.Version}}\n'
    kafkacat -V | head -n 1
    kcat -V | head -n 1
    curl --version | head -n 1
    openssl version
    dig -v
    python3.11 -c 'import streamforge.cli.main, streamforge_utils; print("python")'
    streamforge --version"""
    code, told = run(house.root("debug"), Asked(entrypoint=["bash", "-o", "pipefail", "-c", script]), tmp_path)
    assert code == 0, told
    found = told.splitlines()
    assert found[0] == binaries.version()
    assert found[1] == programs.helm_version()
    assert [line.split()[0] for line in found[2:8]] == ["kcat", "kcat", "curl", "OpenSSL", "DiG", "python"]


def test_kcat_finds_kafka_by_the_settings_of_streamforge(house: House, secured_broker: Broker, tmp_path: Path) -> None:
    user = secured_broker.admin
    assert user is not None
    settings = {**secured_broker.environment(user), "KAFKA_CA_PATH": "/etc/kafka-ca/ca.crt"}
    assert secured_broker.ca_path is not None
    asked = Asked(
        entrypoint=["sh", "-c", "kcat-settings && stat -c %a /tmp/.config/kcat.conf && kcat -L -m 20 -J"],
        environment=settings,
        binds={"/etc/kafka-ca/ca.crt:ro": secured_broker.ca_path},
    )
    code, told = run(house.root("debug"), asked, tmp_path)
    assert code == 0, told
    assert user.password not in told
    assert "\n600\n" in told
    found = json.loads(told.splitlines()[-1])
    assert len(found["brokers"]) == 1


def command() -> list[str]:
    """The words of the page's command, with the file that its shell reads, and a script in place of a person."""
    (line,) = re.findall(r"^kubectl (-n stf run streamforge-debug .*)$", PAGE.read_text("utf-8"), re.MULTILINE)
    reading = '"$(cat platform/debug/overrides.json)"'
    assert reading in line
    words = shlex.split(line.replace(reading, "OVERRIDES"))
    words[words.index("--overrides=OVERRIDES")] = "--overrides=" + (ROOT / "platform/debug/overrides.json").read_text()
    # Nobody sits in front of it: the tests' kubelet has no terminals.
    for option in ("-it", "--rm"):
        words.remove(option)
    assert words[-2:] == ["--", "bash"]
    return [*words, "-c", LOOK]


def test_the_page_s_command_starts_it_where_pods_are_restricted(kube_cluster: Cluster) -> None:
    with prepared(kube_cluster):
        kube_cluster.kubectl("apply", "-f", str(ROOT / "platform" / "debug" / "access.yaml"))
        kube_cluster.kubectl(*command())
        namespace = Namespace(kube_cluster.admin, NAMESPACE)

        def ended() -> str | None:
            pod = kube_cluster.admin.request("GET", f"{namespace.path}/pods/streamforge-debug")
            phase = str(pod["status"]["phase"])
            return phase if phase in ("Succeeded", "Failed") else None

        until("the debug pod has ended", ended, limit_s=180)
        told = kube_cluster.kubectl("-n", NAMESPACE, "logs", "streamforge-debug").splitlines()
        kube_cluster.kubectl("-n", NAMESPACE, "delete", "pod", "streamforge-debug", "--timeout=50s")
    assert told[0] == "1001"
    assert told[1] == "pod/streamforge-debug"
    assert told[2] == "no"
    assert 'pods "streamforge-debug" is forbidden' in told[3]
    assert "Read-only file system" in told[4]
    assert programs.helm_version() in told[5]
