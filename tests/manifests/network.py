"""An evaluator of NetworkPolicies, by Kubernetes' rules: a pod that a policy selects may do what one of them allows."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.manifests.rules import Json, of_kind, selected

Direction = Literal["Ingress", "Egress"]


@dataclass(frozen=True)
class Peer:
    """Who is at the other end: a pod (its labels and its namespace's name), or an address outside."""

    namespace: str = ""
    labels: Json = field(default_factory=dict)
    address: str = ""


def allowed(
    objects: Sequence[Json], direction: Direction, labels: Json, peer: Peer, port: int, protocol: str = "TCP"
) -> bool:
    """Whether a pod with `labels` in the namespace stf may be spoken to (Ingress) or may speak (Egress)."""
    policies = [
        policy["spec"]
        for policy in of_kind(objects, "NetworkPolicy")
        if direction in policy["spec"]["policyTypes"] and selected(policy["spec"]["podSelector"], labels)
    ]
    if not policies:
        return True
    return any(
        _port(rule, port, protocol) and _peer(rule, direction, peer)
        for policy in policies
        for rule in policy.get(direction.lower(), [])
    )


def _port(rule: Json, port: int, protocol: str) -> bool:
    ports = rule.get("ports", [])
    return not ports or any(one["port"] == port and one.get("protocol", "TCP") == protocol for one in ports)


def _peer(rule: Json, direction: Direction, peer: Peer) -> bool:
    peers = rule.get("from" if direction == "Ingress" else "to", [])
    return not peers or any(_matches(one, peer) for one in peers)


def _matches(one: Json, peer: Peer) -> bool:
    if block := one.get("ipBlock"):
        return bool(peer.address) and _within(peer.address, block["cidr"], block.get("except", []))
    if peer.address:
        return False
    if "namespaceSelector" in one:
        if not selected(one["namespaceSelector"], {"kubernetes.io/metadata.name": peer.namespace}):
            return False
    elif peer.namespace != "stf":
        return False
    return selected(one.get("podSelector", {}), peer.labels)


def _within(address: str, cidr: str, without: Sequence[str]) -> bool:
    found = ipaddress.ip_address(address)

    def holds(block: Any) -> bool:
        network = ipaddress.ip_network(block)
        return found.version == network.version and found in network

    return holds(cidr) and not any(holds(block) for block in without)


def ports_open_to(objects: Sequence[Json], labels: Json, peer: Peer) -> Iterator[int]:
    """The ports of our pods that `peer` reaches."""
    return (port for port in (8000, 8080, 8443) if allowed(objects, "Ingress", labels, peer, port))
