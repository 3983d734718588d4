"""The connections that the policies allow in the namespace, overlay by overlay."""

from __future__ import annotations

import pytest

from tests.manifests.network import Peer, allowed, ports_open_to
from tests.manifests.rendering import Json, rendered
from tools import manifests

OVERLAYS = manifests.overlays()
MANAGER = {"app": "streamforge", "app.kubernetes.io/name": "queue-manager"}
WORKER = {"app": "streamforge", "queue_id": "wf-btcusdt-api_candles_1m-20240801-abc123"}
# Strimzi gives its pods the labels of the Kafka object, `app: streamforge` among them.
BROKER = {"app": "streamforge", "strimzi.io/cluster": "streamforge", "strimzi.io/name": "streamforge-kafka"}
DATABASE = {"app": "arangodb", "arango_deployment": "arangodb"}
PROMETHEUS = Peer(namespace="monitoring", labels={"app.kubernetes.io/name": "prometheus"})
NEIGHBOUR = Peer(namespace="stf", labels={"app": "notebook"})
EXCHANGE = Peer(address="18.172.112.7")
API_SERVER = Peer(address="10.96.0.1")


@pytest.mark.parametrize("overlay", OVERLAYS)
@pytest.mark.parametrize("labels", [MANAGER, WORKER], ids=["manager", "worker"])
def test_metrics_are_open_to_the_monitoring_namespace_alone(overlay: str, labels: Json) -> None:
    objects = rendered(overlay)
    assert list(ports_open_to(objects, labels, PROMETHEUS)) == [8000]
    for peer in (NEIGHBOUR, Peer(namespace="default"), EXCHANGE, API_SERVER):
        assert list(ports_open_to(objects, labels, peer)) == []


@pytest.mark.parametrize(
    ("overlay", "controllers"), [("dev", set()), ("production", {"ingress-nginx"}), ("production-gateway", {"gateway"})]
)
def test_the_api_is_open_to_what_serves_it_outside_alone(overlay: str, controllers: set[str]) -> None:
    objects = rendered(overlay)
    reaching = {
        namespace
        for namespace in ("ingress-nginx", "gateway", "monitoring", "stf", "kube-system", "default")
        if allowed(objects, "Ingress", MANAGER, Peer(namespace=namespace), 8080)
    }
    assert reaching == controllers
    assert not allowed(objects, "Ingress", WORKER, Peer(namespace="ingress-nginx"), 8080)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_manager_and_worker_reach_what_they_need(overlay: str) -> None:
    objects = rendered(overlay)
    for labels in (MANAGER, WORKER):
        assert allowed(objects, "Egress", labels, Peer(namespace="stf", labels=BROKER), 9093)
        for namespace in ("stf", "databases"):
            assert allowed(objects, "Egress", labels, Peer(namespace=namespace, labels=DATABASE), 8529)
        for resolver in (Peer(namespace="kube-system", labels={"k8s-app": "kube-dns"}), Peer(address="169.254.20.10")):
            assert allowed(objects, "Egress", labels, resolver, 53, "UDP")
            assert allowed(objects, "Egress", labels, resolver, 53, "TCP")
        for port in (443, 9443):
            assert allowed(objects, "Egress", labels, EXCHANGE, port)
    for port in (443, 6443):
        assert allowed(objects, "Egress", MANAGER, API_SERVER, port)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_worker_reaches_nothing_else(overlay: str) -> None:
    objects = rendered(overlay)
    for peer, port in [
        (API_SERVER, 443),
        (API_SERVER, 6443),
        (API_SERVER, 9443),
        (Peer(address="169.254.169.254"), 443),
        (Peer(address="fd00::1"), 443),
        (EXCHANGE, 80),
        (Peer(namespace="stf", labels=MANAGER), 8080),
        (Peer(namespace="stf", labels=BROKER), 9091),
        (Peer(namespace="elsewhere", labels=BROKER), 9093),
    ]:
        assert not allowed(objects, "Egress", WORKER, peer, port), (peer, port)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_other_pods_are_locked_up_and_databases_left_to_their_operators(overlay: str) -> None:
    objects = rendered(overlay)
    assert not allowed(objects, "Egress", {"app": "notebook"}, EXCHANGE, 443)
    assert not allowed(objects, "Ingress", {"app": "notebook"}, PROMETHEUS, 8000)
    for labels in (BROKER, DATABASE):
        assert allowed(objects, "Egress", labels, Peer(namespace="stf", labels=labels), 9091)
        assert allowed(objects, "Ingress", labels, Peer(namespace="stf", labels=MANAGER), 9093)
