"""server.properties of a broker with one node, plain or secured as in the cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
ADMIN = "admin"


@dataclass(frozen=True)
class Ports:
    """What the broker listens on. proxied: where it listens for the proxy; proxy: where the proxy listens."""

    client: int
    proxied: int
    proxy: int
    controller: int


def server_properties(
    ports: Ports, *, data: Path, keystore: Path | None, truststore: Path | None, admin_password: str | None
) -> dict[str, str]:
    """The settings. keystore, truststore and admin_password: of a secured broker, all or none."""
    secured = keystore is not None
    protocol = "SASL_SSL" if secured else "PLAINTEXT"
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.bootstrap.servers": f"{HOST}:{ports.controller}",
        "controller.listener.names": "CONTROLLER",
        # A client that came through the proxy is told the proxy's address, everyone else the broker's.
        "listeners": (
            f"CLIENT://{HOST}:{ports.client},PROXIED://{HOST}:{ports.proxied},CONTROLLER://{HOST}:{ports.controller}"
        ),
        "advertised.listeners": (
            f"CLIENT://{HOST}:{ports.client},PROXIED://{HOST}:{ports.proxy},CONTROLLER://{HOST}:{ports.controller}"
        ),
        "listener.security.protocol.map": f"CLIENT:{protocol},PROXIED:{protocol},CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "CLIENT",
        "log.dirs": str(data),
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        # After a kill the controller must forget the old broker before it takes the new one. Kafka's own 9 s: on a busy
        # machine a heartbeat is seconds late, and a broker that is forgotten while it lives answers nobody.
        "broker.session.timeout.ms": "9000",
        "broker.heartbeat.interval.ms": "500",
        # Sessions short enough that a test sees a killed member's partitions move.
        "group.min.session.timeout.ms": "1000",
        "group.consumer.min.session.timeout.ms": "1000",
        "group.consumer.min.heartbeat.interval.ms": "100",
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "log.cleaner.dedupe.buffer.size": str(16 * 1024**2),
        "num.network.threads": "2",
        "num.io.threads": "4",
    }
    if secured:
        login = "org.apache.kafka.common.security.scram.ScramLoginModule required"
        settings |= {
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-512",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(keystore),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(truststore),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # The controller's listener is plaintext on loopback: who speaks there has no name.
            "super.users": f"User:{ADMIN};User:ANONYMOUS",
            "allow.everyone.if.no.acl.found": "false",
        }
        for listener in ("client", "proxied"):
            settings[f"listener.name.{listener}.scram-sha-512.sasl.jaas.config"] = (
                f'{login} username="{ADMIN}" password="{admin_password}";'
            )
    return settings
