"""Reports the objects of one kind at the API server by one list, then one watch, however many there are.

The watch resumes where it was cut; where the server does not keep that version any more (410) everything is listed
again, and every few minutes, in case something was missed. No error ends it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Final, Generic, Protocol, TypeVar

import msgspec

from streamforge_utils.adapters.kubernetes.api import Api, Refused
from streamforge_utils.adapters.kubernetes.objects import Failure, JobObject, Page, PodObject, WatchLine
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.instrumentation import Observer
from streamforge_utils.ports.retry import backoff_s

T = TypeVar("T", JobObject, PodObject)

WATCH_S: Final = 60
"""How long one watch lasts; the next goes on where it ended."""

SILENT_S: Final = WATCH_S + 15.0
"""The other side of a watch is gone if nothing came for this long, not even its end."""

LIVED_S: Final = 5.0
"""A watch that lasted this long works: the next one follows without a pause. One that ends sooner is opened again after
a pause that grows, however it ended: a proxy or an overloaded server may end each of them at once."""

RESYNC_S: Final = 300.0
PAGE: Final = 500
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0
_GONE = 410

_log = logging.getLogger(__name__)
_line = msgspec.json.Decoder(WatchLine)
_failure = msgspec.json.Decoder(Failure)
_page = msgspec.json.Decoder(Page)


class Listener(Protocol[T]):  # type: ignore[misc]  # it takes T, and gives none
    """Receives the reports about the objects."""

    def replaced(self, objects: Sequence[T], asked: float) -> None:
        """These are all there are, or were at some moment after `asked` (monotonic seconds)."""

    def changed(self, thing: T) -> None:
        """The object is new or changed."""

    def removed(self, thing: T) -> None:
        """The object is gone; this was its last state."""


class _Expired(Exception):
    """The server does not keep any more what happened since the version that was named."""


class Informer(Generic[T]):
    """Reports all objects of one kind that have the label to `listener`.

    path: of the list. selector: of labels. error: the error that keeps it from following the objects, None without
    one; error_since: since when, monotonic seconds.
    """

    def __init__(
        self,
        api: Api,
        path: str,
        selector: str,
        kind: type[T],
        listener: Listener[T],
        *,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._api = api
        self._path = path
        self._selector = selector
        self._kind = kind.__name__.removesuffix("Object").lower()
        self._decode: Callable[[msgspec.Raw], T] = msgspec.json.Decoder(kind).decode
        self._listener: Listener[T] = listener
        self._clock = clock
        self._observer = observer
        self._version: str | None = None
        self._listed_at = float("-inf")
        self._watching_since: float | None = None
        self.error: Exception | None = None
        self.error_since = 0.0

    async def run(self) -> None:
        """Go on until cancelled."""
        failures = 0
        while True:
            try:
                if self._version is None or self._clock.monotonic() - self._listed_at > RESYNC_S:
                    await self.list_all()
                await self._watch()
                cause = "end"
            except _Expired:
                self._version, cause = None, "gone"
            except RetryableError as error:
                cause = self._failed(error)
            except Exception as error:
                # Rights and namespaces come back too; the next list sees everything again.
                self._version, cause = None, self._failed(error)
                if not isinstance(error, Refused):
                    _log.warning("watching the %ss of Kubernetes failed, it begins again", self._kind, exc_info=True)
            self._observer.count("kubernetes_watches_total", kind=self._kind, end=cause)
            since, self._watching_since = self._watching_since, None
            lived = since is not None and self._clock.monotonic() - since >= LIVED_S
            if lived:
                failures = 0
            if not (lived and cause == "end"):
                failures += 1
                await self._clock.sleep(backoff_s(failures, first_s=_FIRST_PAUSE_S, longest_s=_LONGEST_PAUSE_S))

    async def list_all(self) -> None:
        """Report all there are. Raises RetryableError or Refused."""
        asked = self._clock.monotonic()
        objects, version = await self.everything()
        self._listener.replaced(objects, asked)
        self._version = version
        self._listed_at = self._clock.monotonic()
        self.error = None

    async def everything(self, selector: str = "") -> tuple[list[T], str]:
        """All objects with the label (and `selector`) as they are now, and the version from which to watch."""
        objects: list[T] = []
        query: dict[str, str | int] = {"labelSelector": ",".join(filter(None, (self._selector, selector)))}
        while True:
            query["limit"] = PAGE
            page = _page.decode(await self._api.call("GET", self._path, query=query))
            objects += [self._decode(item) for item in page.items or ()]
            if not page.metadata.following:
                return objects, page.metadata.resource_version
            query["continue"] = page.metadata.following

    async def _watch(self) -> None:
        query: dict[str, str | int] = {
            "labelSelector": self._selector,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version or "",
            "timeoutSeconds": WATCH_S,
        }
        try:
            following = self._api.lines(self._path, query=query, silent_s=SILENT_S, begun=self._begun)
            async with aclosing(following) as lines:
                async for text in lines:
                    self._report(_line.decode(text))
        except Refused as error:
            if error.status == _GONE:
                raise _Expired from error
            raise

    def _report(self, line: WatchLine) -> None:
        if line.type == "ERROR":
            failure = _failure.decode(line.object)
            if failure.code == _GONE:
                raise _Expired
            raise RetryableError(f"the watch of {self._path} failed: {failure.message[:300]} ({failure.code})")
        thing = self._decode(line.object)
        if line.type == "DELETED":
            self._listener.removed(thing)
        elif line.type != "BOOKMARK":
            self._listener.changed(thing)
        self._version = thing.metadata.resource_version
        self.error = None

    def _begun(self) -> None:
        self._watching_since = self._clock.monotonic()
        self.error = None

    def _failed(self, error: Exception) -> str:
        if self.error is None:
            self.error_since = self._clock.monotonic()
        self.error = error
        return "cut" if isinstance(error, RetryableError) else "failed"
