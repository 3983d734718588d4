"""Each way to misbehave: what the client sees, what is stored, and what is counted."""

from __future__ import annotations

import time
from typing import Any

import aiohttp
import pytest

from tests.doubles.arangodb.conftest import Ask
from tests.doubles.arangodb.double import ArangoDouble
from tests.doubles.arangodb.misbehaviour import NUMBERS, Fault

C = "/_api/document/c"
WRITES = r"/_api/document/c"


@pytest.fixture
def version() -> str:
    return "3.12.10"


@pytest.fixture(autouse=True)
async def _collection(ask: Ask) -> None:
    assert (await ask("POST", "/_api/collection", {"name": "c"}))[0] == 200


async def count(ask: Ask) -> int:
    return int((await ask("GET", "/_api/collection/c/count"))[1]["count"])


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("queue-full", 503),
        ("queue-time", 412),
        ("conflict", 409),
        ("lock-timeout", 500),
        ("resource-limit", 500),
        ("not-leader", 503),
        ("leader-challenge", 503),
        ("leader-resigned", 503),
        ("cluster-timeout", 500),
        ("maintenance", 503),
        ("shutdown", 503),
        ("unauthorized", 401),
        ("read-only", 403),
        ("write-concern", 403),
    ],
)
async def test_a_refusal_is_answered_before_anything_is_done(
    ask: Ask, double: ArangoDouble, kind: str, status: int
) -> None:
    fault = double.misbehaviour.add(Fault(kind=kind, method="POST", path=WRITES, times=2))

    answers = [await ask("POST", C, {"_key": f"k{n}"}) for n in range(3)]

    assert [found for found, _ in answers] == [status, status, 202]
    assert {answer["errorNum"] for _, answer in answers[:2]} == {NUMBERS[kind]}
    assert await count(ask) == 1
    assert (fault.seen, fault.hit) == (2, 2)


async def test_every_named_refusal_is_tried_here() -> None:
    marks = [m for m in test_a_refusal_is_answered_before_anything_is_done.pytestmark if m.name == "parametrize"]  # type: ignore[attr-defined]
    assert {kind for kind, _ in marks[0].args[1]} == set(NUMBERS)


@pytest.mark.parametrize(("kind", "stored"), [("cut-before", 0), ("cut-after", 1)])
async def test_a_cut_comes_before_or_after_the_write(ask: Ask, double: ArangoDouble, kind: str, stored: int) -> None:
    double.misbehaviour.add(Fault(kind=kind, method="POST", path=WRITES, times=1))

    with pytest.raises(aiohttp.ClientError):
        await ask("POST", C, {"_key": "k"})

    assert await count(ask) == stored
    assert (await ask("POST", f"{C}?overwriteMode=replace", {"_key": "k"}))[0] == 202
    assert await count(ask) == 1


async def test_an_error_after_the_write_hides_that_it_was_done(ask: Ask, double: ArangoDouble) -> None:
    double.misbehaviour.add(Fault(kind="error-after", number=1457, path=WRITES, times=1))

    status, answer = await ask("POST", C, {"_key": "k"})

    assert (status, answer["errorNum"]) == (500, 1457)
    assert await count(ask) == 1


async def test_a_slow_answer_takes_its_time(ask: Ask, double: ArangoDouble) -> None:
    double.misbehaviour.add(Fault(kind="slow", seconds=0.2, path=WRITES, times=1))

    started = time.monotonic()
    assert (await ask("POST", C, {"_key": "k"}))[0] == 202
    assert time.monotonic() - started >= 0.2


async def test_elements_of_an_array_fail_while_others_are_stored(ask: Ask, double: ArangoDouble) -> None:
    double.misbehaviour.add(Fault(kind="element", number=1200, path=WRITES, skip=1, times=2))

    status, answer = await ask("POST", C, [{"_key": f"k{n}"} for n in range(5)])

    assert status == 202
    assert [element.get("errorNum") for element in answer] == [None, 1200, 1200, None, None]
    assert await count(ask) == 3


async def test_a_share_of_requests_fails_by_its_seed(ask: Ask, double: ArangoDouble) -> None:
    async def pattern(seed: int) -> list[int]:
        double.misbehaviour.clear()
        double.misbehaviour.add(Fault(kind="queue-full", path="/_api/version", share=0.5, seed=seed))
        return [(await ask("GET", "/_api/version"))[0] for _ in range(20)]

    first = await pattern(1)
    assert set(first) == {200, 503}
    assert await pattern(1) == first
    assert await pattern(2) != first


async def test_faults_are_set_read_and_ended_over_http(ask: Ask, session: aiohttp.ClientSession) -> None:
    fault = {"kind": "maintenance", "path": "/_api/version", "times": 1}
    assert (await ask("POST", "/_double/faults", fault))[0] == 200
    assert (await ask("GET", "/_api/version"))[0] == 503
    assert (await ask("GET", "/_api/version"))[0] == 200

    _, report = await ask("GET", "/_double/faults")
    assert report["hits"] == {"maintenance": 1}
    assert report["faults"][0]["hit"] == 1
    assert report["requests"]["GET _api/version"] == 2
    assert (await ask("DELETE", "/_double/faults"))[1]["faults"] == []


@pytest.mark.parametrize("fault", [{"kind": "nonsense"}, {"kind": "error"}, {"kind": "slow", "unheard": 1}])
async def test_a_fault_that_is_none_is_refused(ask: Ask, fault: dict[str, Any]) -> None:
    status, answer = await ask("POST", "/_double/faults", fault)

    assert status == 400
    assert answer["error"]
