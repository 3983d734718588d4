"""Kinds of others: installed as they are shipped, and strict."""

from __future__ import annotations

import pytest
import yaml

from tests.engines.errors import EngineError
from tests.engines.kubernetes.cluster import Cluster
from tests.engines.kubernetes.definitions import from_schema, install, install_all
from tests.places import schemas

pytestmark = pytest.mark.timeout(300)


def test_others_definitions_install_and_validate_strictly(kube_cluster: Cluster, kube_namespace: str) -> None:
    folders = [schemas("crds", name) for name in ("strimzi", "keda", "prometheus-operator")]
    installed = install(kube_cluster.admin, folders)
    assert {"kafkas.kafka.strimzi.io", "scaledjobs.keda.sh", "servicemonitors.monitoring.coreos.com"} <= set(installed)
    # A second time nothing happens.
    assert install(kube_cluster.admin, folders) == installed

    example = schemas("crds", "strimzi", "examples", "kafka", "kafka-single-node.yaml").read_text()
    arguments = ("apply", "--validate=strict", "--dry-run=server", f"--namespace={kube_namespace}", "-f", "-")
    assert "kafka.kafka.strimzi.io/my-cluster" in kube_cluster.kubectl(*arguments, stdin=example)
    documents = list(yaml.safe_load_all(example))
    documents[0]["spec"]["unheard-of"] = True
    with pytest.raises(EngineError, match="unheard-of"):
        kube_cluster.kubectl(*arguments, stdin=yaml.safe_dump_all(documents))


def test_a_schema_of_a_catalogue_makes_a_definition(kube_cluster: Cluster, kube_namespace: str) -> None:
    group = "gateway.networking.k8s.io"
    schema = schemas("crds", "catalog", group, "httproute_v1.json")
    install_all(kube_cluster.admin, [from_schema(schema, group, "HTTPRoute")])
    route = {
        "apiVersion": f"{group}/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "route"},
        "spec": {"rules": [{"backendRefs": [{"name": "service", "port": 80}]}]},
    }
    arguments = ("create", "--validate=strict", "--dry-run=server", f"--namespace={kube_namespace}", "-f", "-")
    kube_cluster.kubectl(*arguments, stdin=yaml.safe_dump(route))
    with pytest.raises(EngineError, match="unheard"):
        kube_cluster.kubectl(*arguments, stdin=yaml.safe_dump({**route, "spec": {"unheard": 1}}))


def test_a_file_without_a_definition_is_refused(kube_cluster: Cluster) -> None:
    example = schemas("crds", "strimzi", "examples", "kafka", "kafka-single-node.yaml")
    with pytest.raises(EngineError, match="holds no CustomResourceDefinition"):
        install(kube_cluster.admin, [example])
