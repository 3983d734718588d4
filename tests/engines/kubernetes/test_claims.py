"""Claims on local volumes: bound by the controller, mounted by the kubelet, kept beyond a pod."""

from __future__ import annotations

import pytest

from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.jobs import Namespace, job, shell, until
from tests.engines.kubernetes.rest import Object

pytestmark = pytest.mark.timeout(300)

_CLASS = {"storageClassName": "by-hand", "accessModes": ["ReadWriteOnce"]}


def _volume(namespace: Namespace) -> Object:
    """A local volume and a claim on it; the volume is called as the namespace is."""
    terms = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "Exists"}]}]
    volume = {
        **_CLASS,
        "capacity": {"storage": "1Gi"},
        "claimRef": {"namespace": namespace.name, "name": "claim"},
        "local": {"path": f"/srv/{namespace.name}"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
    }
    namespace.rest.request("POST", "/api/v1/persistentvolumes", {"metadata": {"name": namespace.name}, "spec": volume})
    claim = {**_CLASS, "volumeName": namespace.name, "resources": {"requests": {"storage": "1Gi"}}}
    path = f"{namespace.path}/persistentvolumeclaims"
    namespace.rest.request("POST", path, {"metadata": {"name": "claim"}, "spec": claim})
    return until(
        "the claim is bound",
        lambda: next(
            (one for one in namespace.rest.request("GET", path)["items"] if one["status"].get("phase") == "Bound"), None
        ),
    )


def test_what_a_pod_writes_to_a_claim_is_there_for_the_next(kube_cluster: Cluster, namespace: Namespace) -> None:
    claim = _volume(namespace)
    assert claim["spec"]["volumeName"] == namespace.name
    pod = {"volumes": [{"name": "kept", "persistentVolumeClaim": {"claimName": "claim"}}]}
    mounts = [{"name": "kept", "mountPath": "/kept"}]
    try:
        namespace.create(job("first", shell("echo from the first > /kept/note", volumeMounts=mounts), pod=pod))
        assert namespace.ended("first") == "Complete"
        namespace.create(job("next", shell("cat /kept/note", volumeMounts=mounts), pod=pod))
        assert namespace.ended("next") == "Complete"
        assert namespace.log(namespace.pods("next")[0]) == "from the first\n"
        assert (
            kube_cluster.folder / "pods" / "disk" / "srv" / namespace.name / "note"
        ).read_text() == "from the first\n"
    finally:
        namespace.rest.request("DELETE", f"/api/v1/persistentvolumes/{namespace.name}")
