"""A pod's volumes as folders, and where each container finds them.

A container's paths are mapped to a private folder, its root: a volume mounted at `/etc/kafka` lies at
`ROOT/etc/kafka`. Its process finds it because `/etc/kafka` is rewritten to that in the values of its environment,
command and arguments, and because `KUBELET_POD_ROOT` names ROOT. Where the system gives each
container a mount namespace, the volume is at `/etc/kafka` as well: a path that is not there is made in an overlay of
the folder above it, which only the container sees. What cannot be mounted (right below `/`, or over what we run from)
is found by its rewritten path alone.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.engines.kubernetes.kubelet.api import Api
from tests.engines.kubernetes.kubelet.pod_values import SourceMissing, data_of, field
from tests.engines.kubernetes.rest import Object

_PROBE_LIMIT_S = 120
_ROOT = Path(__file__).parents[4]
Rewrite = Callable[[str], str]
_TOKEN_S = 3600


@dataclass(frozen=True)
class Mount:
    """A volume, or a part of it, and where a container has it."""

    source: Path
    path: str


class Mounter:
    """Puts mounts around command lines. enter: what enters a new namespace; empty where there is none."""

    def __init__(self, enter: Sequence[str]) -> None:
        self._enter = tuple(enter)

    @classmethod
    def probe(cls) -> Mounter:
        """What this system gives us: root needs nothing, others a user namespace."""
        unshare = shutil.which("unshare")
        if unshare is None or sys.platform != "linux":
            return cls(())
        own = ["--user", "--map-root-user"] if os.geteuid() else []
        found = cls([unshare, *own, "--mount", "--"])
        with tempfile.TemporaryDirectory(prefix="probing-mounts-") as folder:
            mounts = [Mount(Path(folder), "/etc/streamforge-probe")]
            command = found.around(["true"], mounts, Path(folder) / "scratch")
            try:
                works = subprocess.run(command, capture_output=True, timeout=_PROBE_LIMIT_S).returncode == 0
            except (OSError, subprocess.TimeoutExpired):
                works = False
        return found if works else cls(())

    def around(self, command: Sequence[str], mounts: Sequence[Mount], scratch: Path) -> list[str]:
        """`command` with everything mounted that can be. scratch: a folder for what lies over others."""
        lines = self._lines(mounts, scratch) if self._enter else []
        if not lines:
            return list(command)
        script = "\n".join(["set -e", *lines, 'exec "$@"'])
        return [*self._enter, "sh", "-c", script, "sh", *command]

    def _lines(self, mounts: Sequence[Mount], scratch: Path) -> list[str]:
        found = sorted(((Path(os.path.realpath(mount.path)), mount.source) for mount in mounts), key=_depth)
        overlays, binds, made = list[str](), list[str](), list[Path]()
        for path, source in found:
            if not path.exists() and not any(path.is_relative_to(other) for other in made):
                above = next(folder for folder in path.parents if folder.is_dir())
                if _is_ours(above, scratch):
                    continue
                overlays.append(_overlay(above, scratch / str(len(overlays))))
                made.append(above)
            if not _is_ours(path, scratch):
                binds += _bind(source, path)
                made.append(path)
        # Overlays first: one that comes later would hide what is mounted below it.
        return [*overlays, *binds]


def _depth(mount: tuple[Path, Path]) -> int:
    return len(mount[0].parts)


def _overlay(above: Path, scratch: Path) -> str:
    """What makes `above` a folder in which more can be made."""
    upper, work = scratch / "upper", scratch / "work"
    upper.mkdir(parents=True)
    work.mkdir()
    options = f"lowerdir={above},upperdir={upper},workdir={work}"
    return f"mount -t overlay overlay -o {shlex.quote(options)} {shlex.quote(str(above))}"


def _bind(source: Path, path: Path) -> list[str]:
    target = shlex.quote(str(path))
    make = f"mkdir -p {target}"
    if source.is_file():
        make = f"mkdir -p {shlex.quote(str(path.parent))}; [ -e {target} ] || : > {target}"
    return [make, f"mount --bind {shlex.quote(str(source))} {target}"]


def _is_ours(path: Path, scratch: Path) -> bool:
    """Whether something that we run from lies below: over that nothing is mounted."""
    places = [_ROOT, scratch, Path(sys.prefix), Path(sys.base_prefix), Path(tempfile.gettempdir())]
    return path == Path("/") or any(place.is_relative_to(path) for place in places)


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
