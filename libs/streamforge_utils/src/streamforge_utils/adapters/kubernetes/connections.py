"""Connections to the API server: its address and credentials (in a pod those of its ServiceAccount, else of a
kubeconfig), and the pool of HTTP connections that uses them."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import msgspec

from streamforge_utils.model.errors import ConfigError
from streamforge_utils.ports.job_settings import KubernetesSettings

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession, ClientTimeout
    from kubernetes_asyncio.client.configuration import Configuration

_DEFAULT_NAMESPACE: Final = "stf"
_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_ROUNDS: Final = 10
"""Rounds of the event loop in which a socket that was shut down is closed; two are enough."""


class ApiEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An API server with credentials. where: its address and the source of both, for a person."""

    configuration: Configuration
    namespace: str
    where: str


def in_a_pod() -> bool:
    """Whether this process runs in a pod that has credentials for its API server."""
    return bool(os.environ.get("KUBERNETES_SERVICE_HOST")) and (_ACCOUNT / "token").exists()


async def load_endpoint(settings: KubernetesSettings) -> ApiEndpoint:
    """Read address and credentials. Raises ConfigError naming the file or the context that is wrong.

    Of kubeconfig, context and namespace an empty one is what kubectl would take; without the first two, in a pod, it is
    the pod's own cluster, ServiceAccount and namespace.
    """
    # Half a second and 60 MB: only a process that uses Kubernetes imports it.
    from kubernetes_asyncio.client.configuration import Configuration
    from kubernetes_asyncio.config import ConfigException, load_incluster_config, load_kube_config

    configuration = Configuration()
    if not settings.kubeconfig and not settings.context and in_a_pod():
        named = "this cluster"
        try:
            load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        except (ConfigException, OSError) as error:
            raise ConfigError(f"the pod's ServiceAccount cannot be used ({error}): is its token mounted?") from error
        own = _ACCOUNT / "namespace"
        found = own.read_text("utf-8").strip() if own.exists() else ""
    else:
        path = settings.kubeconfig or str(Path.home() / ".kube" / "config")
        named = f"context {settings.context!r} of {path}" if settings.context else path
        try:
            loader = await load_kube_config(
                config_file=path,
                context=settings.context or None,
                client_configuration=configuration,
                persist_config=False,
            )
            found = (loader.current_context or {})["context"].get("namespace") or ""
        except (ConfigException, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"Kubernetes: {named} cannot be used ({error}): name a kubeconfig in KUBECONFIG and its context in "
                "STREAMFORGE_K8S_CONTEXT, or set STREAMFORGE_LAUNCHER=process to run workers on this machine"
            ) from error
        except Exception as error:  # a file that is no YAML, a program that gives credentials: they raise many classes
            raise ConfigError(
                f"Kubernetes: {named} cannot be used: {type(error).__name__}: {str(error)[:300]}"
            ) from error
    namespace = settings.namespace or str(found) or _DEFAULT_NAMESPACE
    return ApiEndpoint(configuration=configuration, namespace=namespace, where=f"{configuration.host} ({named})")


class Connections:
    """A pool of connections. `close` closes their sockets without waiting for the other side."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._sockets = weakref.WeakSet[socket.socket]()
        self._session = self._open()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None,
        body: object,
        accept: str,
        limits: ClientTimeout,
    ) -> ClientResponse:
        """The head of an answer. Raises what aiohttp does."""
        configuration = self._configuration
        headers = {"Accept": accept, "Content-Type": "application/json"}
        for token in (await configuration.auth_settings()).values():
            headers[token["key"]] = token["value"]
        options: dict[str, Any] = {"proxy": configuration.proxy, "proxy_headers": configuration.proxy_headers}
        if configuration.tls_server_name:
            options["server_hostname"] = configuration.tls_server_name
        return await self._session.request(
            method,
            f"{configuration.host}{path}" + (f"?{urlencode(query)}" if query else ""),
            headers=headers,
            data=None if body is None else msgspec.json.encode(body),
            timeout=limits,
            **options,
        )

    async def close(self) -> None:
        """Close all. A connection whose request was cancelled would wait for the other side to end TLS."""
        await self._session.close()
        for _ in range(_ROUNDS):
            left = [found for found in self._sockets if found.fileno() >= 0]
            if not left:
                return
            for found in left:
                with suppress(OSError):  # not connected yet, or no longer
                    found.shutdown(socket.SHUT_RDWR)
            await asyncio.sleep(0)

    def _open(self) -> ClientSession:
        import aiohttp

        configuration = self._configuration
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
        if not configuration.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if configuration.disable_strict_ssl_verification:
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        connector = aiohttp.TCPConnector(
            limit=configuration.connection_pool_maxsize, ssl=context, socket_factory=self._new_socket
        )
        return aiohttp.ClientSession(connector=connector, trust_env=True)

    def _new_socket(self, address: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol = address[:3]
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        self._sockets.add(made)
        return made
