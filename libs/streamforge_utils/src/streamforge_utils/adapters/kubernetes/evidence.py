"""What a person wants to know of a pod or a Job: its last log lines, and what Kubernetes told about it.

Nice to know, so nothing here fails: what cannot be had soon is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Final

import msgspec

from streamforge_utils.adapters.kubernetes.api import Api
from streamforge_utils.adapters.kubernetes.objects import EventObject, Page, PodObject
from streamforge_utils.model.errors import StreamForgeError

_SHORT_S: Final = 3.0
_LOG_LINES, _LOG_BYTES = 40, 262_144
_PAGE = 500
_NO_POD = "involvedObject.kind=Job,reason=FailedCreate"
_NO_VOLUME = tuple(f"involvedObject.kind=Pod,reason={reason}" for reason in ("FailedMount", "FailedAttachVolume"))
_ASKING = 8

_event = msgspec.json.Decoder(EventObject)
_page = msgspec.json.Decoder(Page)


class Evidence:
    """Asks, a few things at a time."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._asking = asyncio.Semaphore(_ASKING)

    async def log(self, pod: PodObject) -> str | None:
        """The last lines that it wrote, "" if none; what it said as it ended, or None, where they cannot be read."""
        query = {"tailLines": _LOG_LINES, "limitBytes": _LOG_BYTES}
        path = f"{self._api.pods_path}/{pod.metadata.name}/log"
        try:
            async with self._asking:
                answer = await self._api.call("GET", path, query=query, accept="*/*", patience_s=_SHORT_S)
        except StreamForgeError:  # it never ran, or its pod or node is gone
            return said_at_its_end(pod)
        return answer.decode(errors="replace")

    async def warnings_about(self, *uids: str) -> list[EventObject]:
        """The warnings about the objects with these uids."""
        found: list[EventObject] = []
        for uid in uids:
            async with self._asking:
                found += [event async for event in self._warnings(f"involvedObject.uid={uid}")]
        return found

    async def holdups(self, jobs: Collection[str], pods: Collection[str]) -> list[EventObject]:
        """The latest warning of what keeps each of these from its beginning. jobs, pods: uids.

        A list for all of them, page after page: the namespace may have warnings of many others.
        """
        latest: dict[str, EventObject] = {}
        wanted = {*jobs, *pods}
        for selector in (*([_NO_POD] if jobs else ()), *(_NO_VOLUME if pods else ())):
            async for event in self._warnings(selector):
                uid = event.involved_object.uid
                if uid in wanted and (uid not in latest or latest[uid].at <= event.at):
                    latest[uid] = event
        return list(latest.values())

    async def _warnings(self, selector: str) -> AsyncIterator[EventObject]:
        query: dict[str, str | int] = {"fieldSelector": f"type=Warning,{selector}", "limit": _PAGE}
        path = f"/api/v1/namespaces/{self._api.namespace}/events"
        while True:
            try:
                page = _page.decode(await self._api.call("GET", path, query=query, patience_s=_SHORT_S))
                found = [_event.decode(item) for item in page.items or ()]
            except (StreamForgeError, msgspec.MsgspecError):
                return
            for event in found:
                yield event
            if not page.metadata.following:
                return
            query["continue"] = page.metadata.following


def said_at_its_end(pod: PodObject) -> str | None:
    """The last lines that it wrote, as its own status keeps them for one that failed; None if it does not."""
    return None if pod.terminated is None else pod.terminated.message or None
