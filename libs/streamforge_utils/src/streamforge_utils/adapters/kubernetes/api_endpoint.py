"""Where the API server is and with which credentials: in a pod by its ServiceAccount, else by a kubeconfig."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from streamforge_utils.model.errors import ConfigError
from streamforge_utils.ports.job_settings import KubernetesSettings

if TYPE_CHECKING:
    from kubernetes_asyncio.client.configuration import Configuration

_DEFAULT_NAMESPACE: Final = "stf"
_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")


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
