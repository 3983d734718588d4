"""What a job waits for and how it ended, from its pod, its Job, its log and the warnings about both.

Log and warnings are for a person only, so that nothing fails without them: what cannot be read soon is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable
from typing import Final

import msgspec

from streamforge_utils.adapters.kubernetes.api import Api
from streamforge_utils.adapters.kubernetes.diagnosis import NO_POD, end_of, wait_of
from streamforge_utils.adapters.kubernetes.job_cache import CachedJob
from streamforge_utils.adapters.kubernetes.objects import EventObject, Page, PodObject, milliseconds
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.ports.clock import Clock
from streamforge_utils.ports.job_log import LOG_LINES, log_end
from streamforge_utils.ports.launcher import Job, JobState

_PENDING_AFTER_S: Final = 2.0
_CONDITION_S: Final = 3.0
_SHORT_S: Final = 3.0
_READINGS: Final = ((LOG_LINES, 1024 * 1024), (40, 262_144))
"""Lines and bytes. The API server counts the bytes from the first of these lines on, so long ones hide the last."""
_TAILS: Final = 64
"""The latest ended jobs of which the end of the log is remembered: their pods may go before it is asked for."""
_PAGE = 500
_NO_POD = "involvedObject.kind=Job,reason=FailedCreate"
_NO_VOLUME = tuple(f"involvedObject.kind=Pod,reason={reason}" for reason in ("FailedMount", "FailedAttachVolume"))
_AT_ONCE = 8

_event = msgspec.json.Decoder(EventObject)
_page = msgspec.json.Decoder(Page)


class Evidence:
    """Reads logs and warnings, a few at a time, and judges by them."""

    def __init__(self, api: Api, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._tails: dict[str, str] = {}

    async def log(self, pod: PodObject) -> str | None:
        """The last lines that it wrote, "" if none; its final message, or None, where they cannot be read."""
        path = f"{self._api.pods_path}/{pod.metadata.name}/log"
        answer = b""
        try:
            for lines, limit in _READINGS:
                query = {"tailLines": lines, "limitBytes": limit}
                async with self._slots:
                    answer = await self._api.call("GET", path, query=query, accept="*/*", patience_s=_SHORT_S)
                if len(answer) < limit:
                    break
            else:
                answer = answer[: answer.rfind(b"\n") + 1]  # the rest of the line is missing
        except StreamForgeError:  # it never ran, or its pod or node is gone
            return pod.final_message
        return answer.decode(errors="replace")

    async def tail(self, entry: CachedJob, pods: Iterable[PodObject]) -> str | None:
        """The end of what a job has written, as far as it is to be had. pods: those that are there of it."""
        if (kept := self._tails.get(entry.uid)) is not None:
            return kept
        for pod in sorted(pods, key=lambda one: one.ended):  # one that lives first
            if (found := await self.log(pod)) is not None:
                return log_end(found.encode())
        return None if entry.log is None else log_end(entry.log.encode())

    async def warnings(self, entry: CachedJob) -> list[EventObject]:
        """The warnings about a job and its last pod."""
        pod = entry.final_pod()
        found: list[EventObject] = []
        for uid in (entry.uid, *([pod.metadata.uid] if pod is not None else [])):
            async with self._slots:
                found += [event async for event in self._listed(f"involvedObject.uid={uid}")]
        return found

    async def holdups(self, jobs: Collection[str], pods: Collection[str]) -> list[EventObject]:
        """The latest warning of what keeps each of these from its beginning. jobs, pods: uids.

        A list for all of them, page after page: the namespace may have warnings of many others.
        """
        latest: dict[str, EventObject] = {}
        wanted = {*jobs, *pods}
        for selector in (*([_NO_POD] if jobs else ()), *(_NO_VOLUME if pods else ())):
            async for event in self._listed(selector):
                uid = event.involved_object.uid
                if uid in wanted and (uid not in latest or latest[uid].at <= event.at):
                    latest[uid] = event
        return list(latest.values())

    async def keep_log(self, entry: CachedJob, pod: PodObject) -> None:
        """Read the log of a pod that will be gone."""
        found = await self.log(pod)
        entry.log = found or entry.log or found

    async def remember_wait(self, entry: CachedJob) -> None:
        """Read before a job's end what will be gone after it."""
        pods = entry.living()
        if pods:  # it may have begun although that was not heard of yet
            await self.keep_log(entry, pods[0])
        if not entry.has_begun() and not entry.stopped:
            events = await self.warnings(entry)
            entry.waited = wait_of(entry.job, pods, events) or entry.waited

    async def look_at_pending(self, entries: Iterable[CachedJob]) -> None:
        """Find out what those of the jobs wait for that do not begin; one list for all of them."""
        now = self._clock.monotonic()
        pending = [
            entry
            for entry in entries
            if not entry.ended and not entry.has_begun() and now - entry.since > _PENDING_AFTER_S
        ]
        if not pending:
            return
        jobs = [entry.uid for entry in pending if not entry.pods]
        pods = [uid for entry in pending for uid, pod in entry.pods.items() if pod.spec.node_name]
        events = await self.holdups(jobs, pods)
        for entry in pending:
            found = wait_of(entry.job, list(entry.pods.values()), events)
            if found is None and not entry.pods and entry.job is not None:
                found = entry.waited or NO_POD
            entry.waited = found

    async def conclude(self, entry: CachedJob) -> Job:
        """The job as it ended. Everything of it is over, as far as is known."""
        pod = entry.final_pod()
        log, events = entry.log, []
        if pod is None or pod.status.phase != "Succeeded":
            await self._wait_for_verdict(entry, pod)
            found = None
            if pod is not None:
                found = await self.log(pod) if pod.metadata.uid in entry.pods else pod.final_message
            if entry.reading is not None:  # asked for before the pod went: its answer may be the only one
                await asyncio.wait({entry.reading})
            log = found or entry.log or found
            events = await self.warnings(entry)
        elif pod.leaving:  # with its log
            log = (await self.log(pod) if pod.metadata.uid in entry.pods else None) or log
        self._remember(entry, log)
        deleted = entry.gone or (pod is not None and pod.leaving)
        end = end_of(
            entry.job, pod, deleted=deleted, stopped=entry.stopped, waited=entry.waited, log=log, events=events
        )
        terminated = None if pod is None else pod.terminated
        ended_ms = milliseconds(None if terminated is None else terminated.finished_at) or self._clock.now_ms()
        return entry.record.as_job(
            JobState.ENDED, ended_ms=max(ended_ms, entry.record.started_ms), **msgspec.structs.asdict(end)
        )

    def _remember(self, entry: CachedJob, log: str | None) -> None:
        if log is not None:
            self._tails[entry.uid] = log_end(log.encode())
        if len(self._tails) > _TAILS:
            self._tails.pop(next(iter(self._tails)))

    async def _listed(self, selector: str) -> AsyncIterator[EventObject]:
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

    async def _wait_for_verdict(self, entry: CachedJob, pod: PodObject | None) -> None:
        """A pod that was deleted may have met a deadline, which its Job shows a moment later."""
        if entry.stopped or pod is None or not pod.leaving:
            return
        give_up = self._clock.monotonic() + _CONDITION_S
        while not entry.gone and self._clock.monotonic() < give_up:
            if entry.job is not None and entry.job.condition("Failed", "FailureTarget", "Complete") is not None:
                return
            await self._clock.sleep(0.1)
