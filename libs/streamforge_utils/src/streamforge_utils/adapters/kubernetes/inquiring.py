"""What a person wants to know of a pod or a Job: its last log lines, and what Kubernetes told about it.

Nice to know, so nothing here fails: what cannot be had soon is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import msgspec

from streamforge_utils.adapters.kubernetes.api import Api
from streamforge_utils.adapters.kubernetes.objects import EventObject, Page, PodObject
from streamforge_utils.model.errors import StreamForgeError

_SHORT_S: Final = 3.0
_LOG_LINES, _LOG_BYTES = 40, 262_144
_EVENTS = 500
_ASKING = 8

_event = msgspec.json.Decoder(EventObject)
_page = msgspec.json.Decoder(Page)


class Inquiry:
    """Asks, a few things at a time."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._asking = asyncio.Semaphore(_ASKING)

    async def log(self, pod: PodObject, namespace: str) -> str:
        """The last lines that it wrote; what it said as it ended, where there are none."""
        query = {"tailLines": _LOG_LINES, "limitBytes": _LOG_BYTES}
        path = f"/api/v1/namespaces/{namespace}/pods/{pod.metadata.name}/log"
        try:
            async with self._asking:
                answer = await self._api.call("GET", path, query=query, accept="*/*", patience_s=_SHORT_S)
        except StreamForgeError:  # it never ran, or its node is gone: then there is none
            terminated = pod.terminated
            return "" if terminated is None else terminated.message
        return answer.decode(errors="replace")

    async def warnings_about(self, *uids: str, namespace: str) -> list[EventObject]:
        """The warnings about the objects with these uids."""
        found: list[EventObject] = []
        for uid in uids:
            async with self._asking:
                found += await self._warnings(f"type=Warning,involvedObject.uid={uid}", namespace)
        return found

    async def warnings(self, namespace: str) -> list[EventObject]:
        """The warnings about any objects, as many as one answer holds."""
        return await self._warnings("type=Warning", namespace)

    async def _warnings(self, selector: str, namespace: str) -> list[EventObject]:
        query: Mapping[str, str | int] = {"fieldSelector": selector, "limit": _EVENTS}
        path = f"/api/v1/namespaces/{namespace}/events"
        try:
            answer = await self._api.call("GET", path, query=query, patience_s=_SHORT_S)
            return [_event.decode(item) for item in _page.decode(answer).items or ()]
        except (StreamForgeError, msgspec.MsgspecError):
            return []
