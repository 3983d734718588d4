"""What the kubelet tells people: events about pods."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque

from tests.engines.kubernetes.kubelet.api import UNREACHABLE, Api
from tests.engines.kubernetes.kubelet.status import stamp
from tests.engines.kubernetes.rest import ApiError, Object

_KEPT = 2000
_log = logging.getLogger(__name__)


class Events:
    """Sends them in the background; when there are too many, the oldest are dropped: no pod waits for them."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._kept = deque[Object](maxlen=_KEPT)
        self._more = asyncio.Event()

    def tell(self, pod: Object, reason: str, message: str, *, warning: bool = False) -> None:
        """Have an event recorded."""
        meta, moment = pod["metadata"], stamp()
        thing = {"kind": "Pod", "apiVersion": "v1", **{name: meta[name] for name in ("namespace", "name", "uid")}}
        self._kept.append(
            {
                "metadata": {"name": f"{meta['name']}.{uuid.uuid4().hex[:16]}", "namespace": meta["namespace"]},
                "involvedObject": thing,
                "reason": reason,
                "message": message,
                "type": "Warning" if warning else "Normal",
                "source": {"component": "kubelet", "host": pod["spec"]["nodeName"]},
                "firstTimestamp": moment,
                "lastTimestamp": moment,
                "count": 1,
            }
        )
        self._more.set()

    async def run(self) -> None:
        """Send them, for ever."""
        while True:
            await self._more.wait()
            self._more.clear()
            while self._kept:
                event = self._kept.popleft()
                path = f"/api/v1/namespaces/{event['metadata']['namespace']}/events"
                try:
                    await self._api.request("POST", path, event)
                except (ApiError, *UNREACHABLE) as error:
                    # A namespace that is going takes none.
                    _log.info("event %s: %s", event["reason"], error)
