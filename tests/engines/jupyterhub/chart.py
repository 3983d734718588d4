"""The chart's values as the hub's own settings.

The Helm chart (z2jh 4.4.0) does this with a file inside its hub image. What follows is our reading of it, for the
values that platform/jupyterhub sets: the same names of traits, and `hub.config` last. Not the chart's are the addresses
(everything on loopback, the proxy started by the hub itself) and how the API server is reached (a kubeconfig).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from tests.manifests.schemas import ROOT, schemas_folder

Json = dict[str, Any]

FOLDER = ROOT / "platform" / "jupyterhub"
NAMESPACE = "jupyterhub"
_SINGLEUSER = {
    "allow_privilege_escalation": "allowPrivilegeEscalation",
    "cmd": "cmd",
    "cpu_guarantee": "cpu.guarantee",
    "cpu_limit": "cpu.limit",
    "default_url": "defaultUrl",
    "environment": "extraEnv",
    "events_enabled": "events",
    "extra_annotations": "extraAnnotations",
    "extra_containers": "extraContainers",
    "extra_labels": "extraLabels",
    "extra_pod_config": "extraPodConfig",
    "extra_resource_guarantees": "extraResource.guarantees",
    "extra_resource_limits": "extraResource.limits",
    "fs_gid": "fsGid",
    "image_pull_policy": "image.pullPolicy",
    "init_containers": "initContainers",
    "lifecycle_hooks": "lifecycleHooks",
    "mem_guarantee": "memory.guarantee",
    "mem_limit": "memory.limit",
    "node_affinity_preferred": "extraNodeAffinity.preferred",
    "node_affinity_required": "extraNodeAffinity.required",
    "node_selector": "nodeSelector",
    "pod_name_template": "podNameTemplate",
    "profile_list": "profileList",
    "service_account": "serviceAccountName",
    "start_timeout": "startTimeout",
    "storage_extra_labels": "storage.extraLabels",
    "tolerations": "extraTolerations",
    "uid": "uid",
}
"""Traits of KubeSpawner and the values below `singleuser` that they come from."""
_HUB = {
    "active_server_limit": "activeServerLimit",
    "allow_named_servers": "allowNamedServers",
    "base_url": "baseUrl",
    "concurrent_spawn_limit": "concurrentSpawnLimit",
}
"""The same of JupyterHub, below `hub`."""


def values(*files: str) -> Json:
    """The chart's own values with ours on top, in this order, as Helm merges them."""
    found: Json = yaml.safe_load((schemas_folder() / "jupyterhub/values.yaml").read_text("utf-8"))
    for name in files:
        found = merged(found, yaml.safe_load((FOLDER / name).read_text("utf-8")))
    return found


def merged(below: Any, above: Any) -> Any:
    """Mappings are merged, everything else is replaced."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    return {**below, **{name: merged(below[name], value) if name in below else value for name, value in above.items()}}


def hub_config(found: Json) -> dict[str, Json]:
    """What the hub is given for these values: traits by class."""
    hub, user = found["hub"], found["singleuser"]
    config: dict[str, Json] = {
        "JupyterHub": {
            "spawner_class": "kubespawner.KubeSpawner",
            "cleanup_servers": False,
            "db_url": _database(hub["db"]),
            **_traits(hub, _HUB),
        },
        "KubeSpawner": {
            "namespace": NAMESPACE,
            "common_labels": {"app": "jupyterhub", "release": "jupyterhub", "chart": "jupyterhub-4.4.0"},
            "image": f"{user['image']['name']}:{user['image']['tag']}",
            "image_pull_secrets": [*found["imagePullSecrets"], *user["image"]["pullSecrets"]],
            **_traits(user, _SINGLEUSER),
            **_storage(user["storage"]),
        },
    }
    config["KubeSpawner"]["tolerations"] = [
        *config["KubeSpawner"].get("tolerations", []),
        *found["scheduling"]["userPods"]["tolerations"],
    ]
    if user["cloudMetadata"]["blockWithIptables"]:
        raise ValueError("the container that it needs is not mapped: restricted pods cannot have it")
    if found["cull"]["enabled"]:
        config["JupyterHub"] |= _culler(found["cull"])
    for name, traits in hub["config"].items():  # what the chart passes through goes last
        config[name] = merged(config.get(name, {}), traits)
    return config


def _traits(below: Json, names: Mapping[str, str]) -> Json:
    found = {}
    for trait, path in names.items():
        value: Any = below
        for step in path.split("."):
            value = value[step]
        if value is not None:
            found[trait] = value
    return found


def _database(db: Json) -> str:
    return {"sqlite-memory": "sqlite://", "sqlite-pvc": "sqlite:///jupyterhub.sqlite"}.get(db["type"]) or str(db["url"])


def _storage(storage: Json) -> Json:
    if storage["type"] != "none":
        raise ValueError(f"storage of the type {storage['type']} is not mapped")
    return {"volumes": storage["extraVolumes"] or [], "volume_mounts": storage["extraVolumeMounts"] or []}


def _culler(cull: Json) -> Json:
    command = [
        *("python3", "-m", "jupyterhub_idle_culler"),
        f"--timeout={cull['timeout']}",
        f"--cull-every={cull['every']}",
        f"--concurrency={cull['concurrency']}",
        f"--max-age={cull['maxAge']}",
        *(["--cull-users"] if cull["users"] else []),
        f"--cull-admin-users={cull['adminUsers']}",
    ]
    scopes = ["list:users", "read:users:activity", "read:servers", "delete:servers"]
    return {
        "services": [{"name": "jupyterhub-idle-culler", "command": command}],
        "load_roles": [{"name": "jupyterhub-idle-culler", "scopes": scopes, "services": ["jupyterhub-idle-culler"]}],
    }
