"""ServiceAccounts, and what speaks for them: tokens and kubeconfigs."""

from __future__ import annotations

from pathlib import Path

from tests.engines.kubernetes.pki import write_kubeconfig
from tests.engines.kubernetes.rest import Object, Rest

_RBAC = "/apis/rbac.authorization.k8s.io/v1/namespaces"


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
