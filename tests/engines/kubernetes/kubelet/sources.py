"""ConfigMaps and Secrets, read when a pod starts. Pods that start together share one look."""

from __future__ import annotations

import asyncio
import time
from base64 import b64decode
from collections.abc import Mapping

from tests.engines.kubernetes.kubelet.api import Api
from tests.engines.kubernetes.rest import ApiError

_FRESH_S = 0.5


class SourceMissing(Exception):
    """An object or a key that a pod needs is not there."""


class Sources:
    """What pods take their values from."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._looks = dict[tuple[str, str, str], tuple[float, asyncio.Task[dict[str, bytes] | None]]]()

    async def read(self, kind: str, namespace: str, name: str, *, optional: bool = False) -> Mapping[str, bytes] | None:
        """The data of a `configmap` or `secret`; None if it is not there but optional. Raises SourceMissing."""
        key = (kind, namespace, name)
        since, look = self._looks.get(key, (0.0, None))
        if look is None or time.monotonic() - since > _FRESH_S:
            look = asyncio.create_task(self._get(*key))
            self._looks[key] = (time.monotonic(), look)
        found = await asyncio.shield(look)
        if found is None and not optional:
            raise SourceMissing(f'{kind} "{name}" not found')
        return found

    async def value(self, kind: str, namespace: str, name: str, key: str, *, optional: bool = False) -> bytes | None:
        """One value; None if it is not there but optional. Raises SourceMissing."""
        found = await self.read(kind, namespace, name, optional=optional)
        if found is not None and key in found:
            return found[key]
        if optional:
            return None
        word = {"configmap": "ConfigMap", "secret": "Secret"}[kind]
        raise SourceMissing(f"couldn't find key {key} in {word} {namespace}/{name}")

    async def _get(self, kind: str, namespace: str, name: str) -> dict[str, bytes] | None:
        try:
            found = await self._api.request("GET", f"/api/v1/namespaces/{namespace}/{kind}s/{name}")
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        finally:
            # Only those that start together share it, and none of it is kept.
            asyncio.get_running_loop().call_later(_FRESH_S, self._looks.pop, (kind, namespace, name), None)
        if kind == "secret":
            return {key: b64decode(value) for key, value in (found.get("data") or {}).items()}
        plain = {key: value.encode() for key, value in (found.get("data") or {}).items()}
        return plain | {key: b64decode(value) for key, value in (found.get("binaryData") or {}).items()}
