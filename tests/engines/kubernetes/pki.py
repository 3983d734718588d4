"""Keys, certificates, ServiceAccounts and kubeconfigs of one cluster, made on the spot."""

from __future__ import annotations

import os
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.engines.kubernetes.rest import Object, Rest
from tests.engines.tls import Authority, private_pem

ADMINS = "system:masters"
_RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces"


@dataclass(frozen=True)
class Client:
    """Who speaks to the API server: by certificate. pem: key and certificate."""

    name: str
    pem: Path


class Pki:
    """Everything secret of a cluster, in `folder`. etcd has an authority of its own: no user of the API gets there."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True)
        self._folder = folder
        self._authority = Authority.create("StreamForge test cluster")
        store = Authority.create("StreamForge test etcd")
        self.ca = self._write("ca.crt", self._authority.pem)
        self.etcd_ca = self._write("etcd-ca.crt", store.pem)
        # etcd speaks to itself as a client.
        self.etcd_server = self._write("etcd-server.pem", store.issue(client=True))
        self.etcd_client = self._write("etcd-client.pem", store.issue_client("kube-apiserver"))
        names = ("localhost", "127.0.0.1", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
        self.api_server = self._write("api-server.pem", self._authority.issue(hosts=names))
        self.kubelet_server = self._write("kubelet-server.pem", self._authority.issue())
        # The API server as the client of the kubelet, which asks for no other name.
        self.kubelet_client = self.client("kube-apiserver-kubelet-client").pem
        account = ec.generate_private_key(ec.SECP256R1())
        self.account_key = self._write("service-account.key", private_pem(account))
        public = account.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.account_public = self._write("service-account.pub", public.decode())

    def client(self, name: str, *groups: str) -> Client:
        """A new client certificate."""
        stem = name.replace(":", "-")
        return Client(name, self._write(f"{stem}.pem", self._authority.issue_client(name, *groups)))

    def kubeconfig(self, path: Path, server: str, client: Client, *, namespace: str = "default") -> Path:
        """Write a kubeconfig that needs no other file. server: the API's URL."""
        pem = b64encode(client.pem.read_bytes()).decode()
        user = {"client-certificate-data": pem, "client-key-data": pem}
        return write_kubeconfig(path, server, self.ca, client.name, user, namespace)

    def _write(self, name: str, text: str) -> Path:
        return write_secret(self._folder / name, text)


def write_kubeconfig(path: Path, server: str, ca: Path, name: str, user: dict[str, Any], namespace: str) -> Path:
    """Write a kubeconfig with one user. user: its way to prove who it is."""
    cluster = {"server": server, "certificate-authority-data": b64encode(ca.read_bytes()).decode()}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "streamforge", "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [
            {"name": "streamforge", "context": {"cluster": "streamforge", "user": name, "namespace": namespace}}
        ],
        "current-context": "streamforge",
    }
    return write_secret(path, yaml.safe_dump(config))


def write_secret(path: Path, text: str) -> Path:
    """Write a file that only we can read."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    return path


class Accounts:
    """ServiceAccounts of one cluster. `admin` makes them."""

    def __init__(self, admin: Rest, ca: Path, server: str) -> None:
        self._admin = admin
        self._ca = ca
        self._server = server

    def create(self, namespace: str, name: str, rules: list[Object]) -> None:
        """Make a ServiceAccount with a Role of the same name that holds `rules`."""
        meta = {"metadata": {"name": name, "namespace": namespace}}
        self._admin.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", meta)
        self._admin.request("POST", f"{_RBAC}/{namespace}/roles", {**meta, "rules": rules})
        binding = {
            **meta,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        }
        self._admin.request("POST", f"{_RBAC}/{namespace}/rolebindings", binding)

    def token(self, namespace: str, name: str, *, seconds: int = 3600) -> str:
        """A new token of a ServiceAccount. seconds: until it ends, at least 600."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        found = self._admin.request("POST", path, {"spec": {"expirationSeconds": seconds}})
        return str(found["status"]["token"])

    def kubeconfig(self, path: Path, namespace: str, name: str, *, server: str | None = None) -> Path:
        """Write a kubeconfig that speaks for a ServiceAccount. server: another URL, such as the proxy's."""
        user = {"token": self.token(namespace, name)}
        return write_kubeconfig(path, server or self._server, self._ca, name, user, namespace)
