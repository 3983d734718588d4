"""The informer goes on from where its watch was cut, lists again where it must, and survives all that it meets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from streamforge_utils.adapters.kubernetes import informer as informer_module
from streamforge_utils.adapters.kubernetes.api import Api, Refused
from streamforge_utils.adapters.kubernetes.informer import Informer
from streamforge_utils.adapters.kubernetes.objects import PodObject
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.clock import SystemClock
from streamforge_utils.ports.instrumentation import NullObserver
from streamforge_utils.ports.job_settings import KubernetesSettings
from tests.adapters.kubernetes.scripted import Script, Step, connected, event, listed, pod, refused, serving, watched
from tests.limits import LIMIT_S

PATH = "/api/v1/namespaces/stf/pods"
BOOKMARK = {"kind": "Pod", "metadata": {"resourceVersion": "90"}}
GONE = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}


class Quick(SystemClock):
    """Never sleeps long, and remembers how long it was to. now_s: of the monotonic clock."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds
        await asyncio.sleep(0)


class Told:
    """What an informer tells."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.failing = 0

    def replaced(self, objects: Sequence[PodObject], asked: float) -> None:
        self.words.append("= " + " ".join(sorted(one.metadata.name for one in objects)))

    def changed(self, thing: PodObject) -> None:
        if self.failing:
            self.failing -= 1
            raise RuntimeError("a fault of our own")
        self.words.append(f"~ {thing.metadata.name} {thing.status.phase}")

    def removed(self, thing: PodObject) -> None:
        self.words.append(f"- {thing.metadata.name}")


async def play(script: Script, folder: Path, told: Told | None = None, clock: Quick | None = None) -> Told:
    """Run an informer until the script is at its end; what it told."""
    told, clock = told or Told(), clock or Quick()
    async with connected(script, folder, clock=clock) as api, informing(api, told, clock) as (_, running):
        async with asyncio.timeout(LIMIT_S):
            await script.done.wait()
        assert not running.done()
    return told


@asynccontextmanager
async def informing(
    api: Api, told: Told, clock: Quick
) -> AsyncIterator[tuple[Informer[PodObject], asyncio.Task[None]]]:
    """An informer that runs until the end of the block."""
    informer = Informer(api, PATH, "app=streamforge", PodObject, told, clock=clock, observer=NullObserver())
    running = asyncio.create_task(informer.run())
    try:
        yield informer, running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


BROKEN = (b"this is no JSON\n", b'{"type": "ADDED"}\n', b'{"type": "ADDED", "object": {"metadata": 7}}\n')
CASES: dict[str, tuple[list[Step], list[str]]] = {
    # Not from the version of an item: lists come in no order of time.
    "it lists once and goes on from the list's version": (
        [
            listed(50, pod("a", 70), pod("b", 7)),
            watched(50, event("ADDED", pod("c", 51)), event("MODIFIED", pod("a", 52, "Succeeded"))),
            watched(52, event("DELETED", pod("a", 53))),
            watched(53),
        ],
        ["= a b", "~ c Running", "~ a Succeeded", "- a"],
    ),
    "a bookmark moves the version from which it goes on": (
        [listed(50), watched(50, event("BOOKMARK", BOOKMARK)), watched(90)],
        ["= "],
    ),
    "a watch that is cut goes on where it was": (
        [
            listed(50),
            watched(50, event("ADDED", pod("a", 51)), then="cut"),
            watched(51, event("ADDED", pod("b", 52)), then="cut"),
            watched(52, event("DELETED", pod("a", 53))),
            watched(53),
        ],
        ["= ", "~ a Running", "~ b Running", "- a"],
    ),
    **{
        f"where the version is forgotten it lists again, told by {how}": (
            [listed(50, pod("o", 1)), watched(50, event("ADDED", pod("a", 51))), gone, listed(80, pod("b", 60))],
            ["= o", "~ a Running", "= b"],
        )
        for how, gone in {"an event": watched(51, event("ERROR", GONE)), "an answer": refused(410, "Expired")}.items()
    },
    **{
        f"a server that answers {status} is asked again": (
            [
                *(refused(status), refused(status), listed(50, pod("a", 1)), refused(status), refused(status)),
                watched(50, event("ADDED", pod("b", 51))),
                watched(51),
            ],
            ["= a", "~ b Running"],
        )
        for status in (429, 500, 502, 503, 504)
    },
    **{
        f"it lists again after {line!r}": (
            [listed(50), watched(50, line), listed(60, pod("a", 1)), watched(60)],
            ["= ", "= a"],
        )
        for line in BROKEN
    },
    "rights are taken away and given again": (
        [listed(50), refused(403, "Forbidden"), refused(403, "Forbidden"), listed(60), watched(60)],
        ["= ", "= "],
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_it_reports_each_change_once_whatever_the_server_answers(tmp_path: Path, case: str) -> None:
    steps, words = CASES[case]
    assert (await play(Script(*steps), tmp_path)).words == words


async def test_pauses_grow_with_jitter_and_have_a_cap(tmp_path: Path) -> None:
    clock = Quick()
    await play(Script(listed(50), *[refused(503)] * 12, watched(50)), tmp_path, clock=clock)
    assert len(clock.slept) == 13, "after each refusal, and after the watch that ended at once"
    assert 0.1 <= clock.slept[0] <= 0.2
    assert all(slept <= 10.0 for slept in clock.slept)
    assert max(clock.slept[-3:]) > 5.0
    assert len(set(clock.slept[-4:])) == 4, "no two of many managers come at the same time"


@pytest.mark.parametrize("how", [{}, {"then": "cut"}], ids=["ended", "cut"])
async def test_a_watch_that_ends_at_once_is_opened_again_after_pauses_that_grow(
    tmp_path: Path, how: dict[str, str]
) -> None:
    clock = Quick()
    await play(Script(listed(50), *[watched(50, **how)] * 12), tmp_path, clock=clock)
    longest = [min(0.2 * 2**number, 10.0) for number in range(12)]
    assert len(clock.slept) == 12
    assert all(most / 2 <= slept <= most for slept, most in zip(clock.slept, longest, strict=True))
    assert len(set(clock.slept[-4:])) == 4, "no two of many managers come at the same time"


async def test_a_watch_that_lived_is_followed_without_a_pause_and_ends_the_growth_of_pauses(tmp_path: Path) -> None:
    clock = Quick()

    class Lives(Told):
        def changed(self, thing: PodObject) -> None:
            super().changed(thing)
            clock.now_s += informer_module.LIVED_S + 0.1  # more, as a sum of fractions may be rounded down

    lived = watched(50, event("ADDED", pod("a", 51)))
    script = Script(listed(50), *[watched(50)] * 6, lived, *[watched(51)] * 2)
    assert (await play(script, tmp_path, Lives(), clock)).words == ["= ", "~ a Running"]
    assert len(clock.slept) == 6 + 2
    assert 3.2 <= clock.slept[5] <= 6.4
    assert 0.1 <= clock.slept[6] <= 0.2


async def test_the_time_that_the_server_names_is_waited_for(tmp_path: Path) -> None:
    clock = Quick()
    await play(Script(refused(429, retry_after=3), listed(50), watched(50)), tmp_path, clock=clock)
    assert clock.slept[0] == 3.0


async def test_a_fault_of_our_own_makes_it_list_again(tmp_path: Path) -> None:
    told = Told()
    told.failing = 1
    script = Script(listed(50), watched(50, event("ADDED", pod("a", 51))), listed(60, pod("a", 51)), watched(60))
    assert (await play(script, tmp_path, told)).words == ["= ", "= a"]


async def test_a_server_that_falls_silent_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(informer_module, "SILENT_S", 0.2)
    script = Script(listed(50), watched(50, event("ADDED", pod("a", 51)), then="hang"), watched(51))
    assert (await play(script, tmp_path)).words == ["= ", "~ a Running"]


async def test_now_and_then_everything_is_listed_though_nothing_was_missed(tmp_path: Path) -> None:
    clock = Quick()

    class Ages(Told):
        def changed(self, thing: PodObject) -> None:
            super().changed(thing)
            clock.now_s += informer_module.RESYNC_S + 1

    script = Script(listed(50), watched(50, event("ADDED", pod("a", 51))), listed(70, pod("a", 51)), watched(70))
    assert (await play(script, tmp_path, Ages(), clock)).words == ["= ", "~ a Running", "= a"]


async def test_a_long_list_comes_in_pages(tmp_path: Path) -> None:
    async def first(request):  # type: ignore[no-untyped-def]
        from aiohttp import web

        assert request.query["limit"] == str(informer_module.PAGE)
        metadata = {"resourceVersion": "50", "continue": "the-rest"}
        return web.json_response({"metadata": metadata, "items": [pod("a", 1)]})

    script = Script(first, listed(50, pod("b", 2)), watched(50))
    assert (await play(script, tmp_path)).words == ["= a b"]


# Single calls


async def call(script: Script, folder: Path, clock: Quick | None = None) -> bytes:
    async with connected(script, folder, clock=clock or Quick()) as api:
        return await api.call("GET", PATH)


async def test_a_refusal_is_told_with_the_servers_reason_and_not_repeated(tmp_path: Path) -> None:
    script = Script(refused(422, "Invalid"), listed(1))
    with pytest.raises(Refused, match="GET /api/v1/namespaces/stf/pods: refused with 422") as raised:
        await call(script, tmp_path)
    assert (raised.value.status, raised.value.reason) == (422, "Invalid")
    assert len(script.asked) == 1


async def test_patience_ends(tmp_path: Path) -> None:
    clock = Quick()
    with pytest.raises(RetryableError, match="HTTP 503"):
        await call(Script(*[refused(503)] * 50), tmp_path, clock)
    assert 10 < sum(clock.slept) <= 20


async def test_a_login_that_is_not_accepted_may_be_renewed(tmp_path: Path) -> None:
    script = Script(refused(401, "Unauthorized"), listed(1))
    assert b"resourceVersion" in await call(script, tmp_path)


async def test_nobody_there_is_told_without_waiting_for_ever(tmp_path: Path) -> None:
    async with serving(Script(), tmp_path) as kubeconfig:
        pass
    api = Api(KubernetesSettings(kubeconfig=str(kubeconfig)), clock=Quick(), observer=NullObserver(), patience_s=1)
    with pytest.raises(RetryableError, match="cannot be reached"):
        await api.call("GET", PATH)
    await api.close()


async def test_what_keeps_it_from_knowing_is_told_until_the_server_answers_again(tmp_path: Path) -> None:
    """Though nothing happens there: the watch has begun."""
    script = Script(listed(50), refused(503), refused(503), watched(50, then="hang"))
    clock, told = Quick(), list[tuple[str, float]]()
    sleep = clock.sleep

    async def looked(seconds: float) -> None:
        told.append((str(informer.error), informer.error_since))
        await sleep(seconds)

    clock.sleep = looked  # type: ignore[method-assign]
    async with connected(script, tmp_path, clock=clock) as api, informing(api, Told(), clock) as (informer, _):
        async with asyncio.timeout(LIMIT_S):
            while script.steps or informer.error is not None:  # noqa: ASYNC110 - it does not tell when
                await asyncio.sleep(0.001)
    assert [text for text, _ in told] == [f"GET {PATH}: refused with 503 (HTTP 503)"] * 2
    assert told[0][1] == told[1][1] == 0.0, "since it began"
