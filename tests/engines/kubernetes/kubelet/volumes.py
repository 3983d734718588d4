"""A pod's volumes as folders, and where each container finds them.

A container's paths are mapped to a private folder, its root: a volume mounted at `/etc/kafka` lies at
`ROOT/etc/kafka`. Its process finds it because `/etc/kafka` is rewritten to that in the values of its environment,
command and arguments, and because `KUBELET_POD_ROOT` names ROOT. Where the system lets us, the volume is at
`/etc/kafka` as well (`mounting.py`).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.engines.kubernetes.kubelet.api import Api
from tests.engines.kubernetes.kubelet.mounting import Mount
from tests.engines.kubernetes.kubelet.pod_values import SourceMissing, data_of, field
from tests.engines.kubernetes.rest import Object

Rewrite = Callable[[str], str]
_TOKEN_S = 3600


@dataclass(frozen=True)
class Mounted:
    """Where a container finds its volumes. rewrite: puts `root` before their paths; mounts: where they belong."""

    root: Path
    rewrite: Rewrite
    mounts: Sequence[Mount]


class Volumes:
    """The volumes of one pod, in `folder`. address: what a pod is told as its own; disk: stands for its node's `/`."""

    def __init__(self, api: Api, folder: Path, address: str, disk: Path) -> None:
        self._api = api
        self._folder = folder
        self._address = address
        self._disk = disk

    async def make(self, pod: Object) -> None:
        """Write every volume. Raises SourceMissing naming the first that cannot be."""
        for volume in pod["spec"].get("volumes", []):
            where = self._folder / "volumes" / volume["name"]
            if claim := volume.get("persistentVolumeClaim"):
                target = await self._claimed(pod["metadata"]["namespace"], claim["claimName"])
                where.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                if not where.is_symlink():
                    where.symlink_to(target, target_is_directory=True)
                continue
            files = await self._files(pod, volume)
            where.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path, content in files.items():
                _write(where, path, content)

    def mount(self, container: Object) -> Mounted:
        """A container's root with everything mounted."""
        root = self._folder / "roots" / container["name"]
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(mode=0o700, parents=True)
        mounted = list[Mount]()
        mounts = sorted(container.get("volumeMounts", []), key=lambda mount: len(mount["mountPath"]))
        for mount in mounts:
            target = self._folder / "volumes" / mount["name"] / mount.get("subPath", "")
            mounted.append(Mount(target, mount["mountPath"]))
            link = _below(root, mount["mountPath"])
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target, target_is_directory=target.is_dir())
        return Mounted(root, rewriter(root, [mount["mountPath"] for mount in mounts]), mounted)

    async def _files(self, pod: Object, volume: Object) -> Mapping[str, bytes]:
        """Paths below the volume, and what is in them."""
        if "emptyDir" in volume:
            return {}
        if "projected" in volume:
            found = dict[str, bytes]()
            for source in volume["projected"].get("sources", []):
                found |= await self._source(pod, source)
            return found
        for kind in ("secret", "configMap"):
            if kind in volume:
                return await self._source(pod, {kind: volume[kind]})
        raise SourceMissing(f'volume "{volume["name"]}" is of a kind that this kubelet does not know')

    async def _claimed(self, namespace: str, name: str) -> Path:
        """The folder behind a claim. A local volume of a real node has to be there; here it is made."""
        claim = await self._api.request("GET", f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}")
        if claim.get("status", {}).get("phase") != "Bound":
            raise SourceMissing(f'the claim "{name}" is not bound')
        volume = await self._api.request("GET", f"/api/v1/persistentvolumes/{claim['spec']['volumeName']}")
        if "local" not in volume["spec"]:
            raise SourceMissing(f'the volume of the claim "{name}" is of a kind that this kubelet does not know')
        folder = _below(self._disk, volume["spec"]["local"]["path"])
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    async def _source(self, pod: Object, source: Object) -> Mapping[str, bytes]:
        namespace = pod["metadata"]["namespace"]
        if told := source.get("downwardAPI"):
            paths = {item["path"]: item["fieldRef"]["fieldPath"] for item in told.get("items", [])}
            return {path: field(pod, named, self._address).encode() for path, named in paths.items()}
        if wanted := source.get("serviceAccountToken"):
            return {wanted["path"]: await self._token(pod, wanted)}
        kind = "secret" if "secret" in source else "configMap"
        given = source[kind]
        name = given.get("secretName") or given["name"]
        optional = given.get("optional", False)
        data = await data_of(self._api, kind.lower(), namespace, name, optional=optional)
        if "items" not in given:
            return data
        missing = [item["key"] for item in given["items"] if item["key"] not in data]
        if missing and not optional:
            raise SourceMissing(f"references non-existent {kind.lower()} key: {missing[0]}")
        return {item["path"]: data[item["key"]] for item in given["items"] if item["key"] in data}

    async def _token(self, pod: Object, wanted: Object) -> bytes:
        meta, account = pod["metadata"], pod["spec"].get("serviceAccountName", "default")
        bound = {"kind": "Pod", "apiVersion": "v1", "name": meta["name"], "uid": meta["uid"]}
        request = {
            "expirationSeconds": wanted.get("expirationSeconds", _TOKEN_S),
            "audiences": [wanted["audience"]] if "audience" in wanted else [],
            "boundObjectRef": bound,
        }
        path = f"/api/v1/namespaces/{meta['namespace']}/serviceaccounts/{account}/token"
        found = await self._api.request("POST", path, {"spec": request})
        return str(found["status"]["token"]).encode()


def rewriter(root: Path, paths: list[str]) -> Rewrite:
    """What puts `root` before every mention of one of `paths`, or of something below it."""
    longest = sorted({path.rstrip("/") for path in paths} - {""}, key=len, reverse=True)
    if not longest:
        return lambda text: text
    choices = "|".join(re.escape(path) for path in longest)
    pattern = re.compile(rf"(?<![\w./-])({choices})(?![\w.-])")
    return lambda text: pattern.sub(lambda found: f"{root}{found[1]}", text)


def _below(root: Path, path: str) -> Path:
    return root / os.path.normpath(path).lstrip("/")


def _write(folder: Path, name: str, content: bytes) -> None:
    path = folder / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
