"""The watcher of pods finds a Job that ran again, and attempts of a step that ran at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.engines.kubernetes.chaos.watcher import PodWatcher

Pod = dict[str, Any]


class Looks:
    """Gives one list of pods for each look, then ends the watch."""

    path = "/pods-of-a-namespace"

    def __init__(self, *looks: list[Pod]) -> None:
        self._left: Iterator[list[Pod]] = iter(looks)

    @property
    def rest(self) -> Looks:
        return self

    def request(self, method: str, path: str, *, limit_s: float) -> Pod:
        pods = next(self._left, None)
        if pods is None:
            raise asyncio.CancelledError
        return {"items": pods}


def pod(name: str, began_s: int, ended_s: int | None = None, *, job: str = "a", deleted: bool = False) -> Pod:
    state: Pod = {"startedAt": f"2026-01-01T00:00:{began_s:02}Z"}
    if ended_s is not None:
        state["finishedAt"] = f"2026-01-01T00:00:{ended_s:02}Z"
    labels = {"queue_id": "q", "streamforge.io/target": "t", "batch.kubernetes.io/job-name": job}
    return {
        "metadata": {"uid": name, "name": name, "labels": labels, **({"deletionTimestamp": "x"} if deleted else {})},
        "status": {"containerStatuses": [{"state": {"running" if ended_s is None else "terminated": state}}]},
    }


async def watched(monkeypatch: pytest.MonkeyPatch, *looks: list[Pod]) -> PodWatcher:
    monkeypatch.setattr("tests.engines.kubernetes.chaos.watcher.LOOK_EVERY_S", 0)
    watcher = PodWatcher(Looks(*looks))  # type: ignore[arg-type]
    with pytest.raises(asyncio.CancelledError):
        await watcher.watch()
    return watcher


async def test_a_second_pod_that_is_taken_back_is_no_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = [pod("one", 1), pod("two", 2)]
    taken = [pod("one", 1), pod("two", 2, deleted=True)]
    over = [pod("one", 1, 9, deleted=True), pod("two", 2, 3, deleted=True)]
    watcher = await watched(monkeypatch, begun, taken, over)
    assert (watcher.repeated, watcher.overlaps, watcher.doubled) == ([], [], {"a": {"one", "two"}})
    assert (watcher.jobs, watcher.looks) == ({"a"}, 3)


async def test_two_pods_that_both_run_to_their_end_are_a_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    # Deleted with their Job, once they had ended.
    watcher = await watched(monkeypatch, [pod("one", 1, 9, deleted=True), pod("two", 2, 8, deleted=True)])
    assert [line.split()[2] for line in watcher.repeated] == ["one"]


async def test_a_pod_in_place_of_one_that_was_deleted_is_a_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    deleted, over = pod("one", 1, deleted=True), pod("one", 1, 3, deleted=True)
    watcher = await watched(monkeypatch, [deleted], [over, pod("two", 4, 9)])
    assert len(watcher.repeated) == 1


async def test_attempts_of_a_step_that_run_at_once_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = await watched(monkeypatch, [pod("one", 1, 5), pod("two", 4, 9, job="a-2"), pod("three", 9, 10, job="b")])
    assert (watcher.repeated, watcher.doubled) == ([], {})
    assert [line.split()[2] for line in watcher.overlaps] == ["one"]
