"""What servers do under load and in trouble: it is tried again, and what was done is done once."""

from __future__ import annotations

import asyncio
import json
import re
import time

import msgspec
import pytest

from streamforge_utils.adapters.arango import ArangoStore
from streamforge_utils.adapters.arango.arango_transport import STATEMENTS, Retries
from streamforge_utils.model.errors import ConfigError, ConflictError, PermanentError, RetryableError
from streamforge_utils.ports.clock import SystemClock
from streamforge_utils.ports.store import Document, Edge, Outcome
from tests.adapters.arango.conftest import IMPATIENT, PASSWORD, MakeStore
from tests.doubles.arangodb.double import ArangoDouble
from tests.doubles.arangodb.misbehaviour import Fault
from tests.doubles.observer import RecordingObserver

PASSING = [
    "queue-full",
    "queue-time",
    "conflict",
    "lock-timeout",
    "resource-limit",
    "not-leader",
    "leader-challenge",
    "leader-resigned",
    "cluster-timeout",
    "maintenance",
    "shutdown",
    "write-concern",
    "cut-before",
    "cut-after",
]
WRITES = "_api/(document|cursor)"
one_version = pytest.mark.parametrize("version", ["3.12.10"], indirect=True)


def documents(*keys: str, version: int = 1) -> list[Document]:
    return [Document(key, version, b'{"content": %d}' % version) for key in keys]


async def contents(store: ArangoStore) -> dict[str, tuple[int, object]]:
    return {d.key: (d.version, json.loads(d.body)) for d in await store.read("candles")}


def edges(*targets: str) -> list[Edge]:
    return [Edge("candles/a", f"candles/{target}", b"{}") for target in targets]


def again(observer: RecordingObserver) -> dict[str, float]:
    """How often something was tried again, by reason."""
    found: dict[str, float] = {}
    for name, number in observer.counts.items():
        if name.startswith("store_retries_total"):
            found[re.sub(r".*reason=\W*(\w+).*", r"\1", name)] = number
    return found


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        *((kind, 0) for kind in PASSING),
        *(("error", number) for number in (21, 1500, 1654, 1655)),
        *(("error-after", number) for number in (4, 1200, 1457, 503)),
    ],
)
async def test_documents_are_stored_once_in_spite_of(
    kind: str, number: int, store: ArangoStore, double: ArangoDouble, observer: RecordingObserver
) -> None:
    await store.upsert("candles", documents("a"))
    fault = double.misbehaviour.add(Fault(kind=kind, number=number, method="POST", path=WRITES, times=2))
    answers = await store.upsert("candles", documents("a", "b", "c", version=2))
    assert fault.hit == 2
    assert {answer.outcome for answer in answers} <= {Outcome.STORED, Outcome.UNCHANGED}
    assert sum(number for name, number in observer.counts.items() if name.startswith("store_retries_total")) == 2
    assert observer.waits[-1] == (None, None)
    fault = double.misbehaviour.add(Fault(kind=kind, number=number, path=WRITES, times=2))
    assert await contents(store) == {key: (2, {"content": 2}) for key in "abc"}
    assert fault.hit == 2


@pytest.mark.parametrize("kind", PASSING)
async def test_a_state_is_changed_once_in_spite_of(kind: str, store: ArangoStore, double: ArangoDouble) -> None:
    """A change that was made although its answer got lost is no conflict with itself."""
    first = state = await store.put("workflow", "warm", b"0", expected=None)
    for method, path in (("POST", "_api/document"), ("PATCH", "_api/document"), ("DELETE", "_api/document")):
        double.misbehaviour.clear()
        fault = double.misbehaviour.add(Fault(kind=kind, method=method, path=path, times=1))
        if method == "POST":
            state = await store.put("workflow", "a", b"1", expected=None, labels={"s": "x"}, created_ms=7)
            assert (state.body, state.labels, state.created_ms) == (b"1", {"s": "x"}, 7)
        elif method == "PATCH":
            state = await store.put("workflow", "a", b"2", expected=state.revision)
            assert (state.body, state.labels, state.created_ms) == (b"2", {"s": "x"}, 7)
        else:
            await store.remove("workflow", "a", expected=state.revision)
        assert fault.hit == 1
        found = await store.get("workflow", "a")
        assert found == (None if method == "DELETE" else state)
    assert await store.find("workflow") == [first]


async def test_a_change_by_somebody_else_is_a_conflict_even_if_an_answer_got_lost(
    store: ArangoStore, double: ArangoDouble
) -> None:
    first = await store.put("workflow", "a", b"1", expected=None)
    second = await store.put("workflow", "a", b"2", expected=first.revision)
    double.misbehaviour.add(Fault(kind="cut-after", method="PATCH", times=1))
    with pytest.raises(ConflictError):
        await store.put("workflow", "a", b"3", expected=first.revision)
    with pytest.raises(ConflictError):
        await store.put("workflow", "a", b"3", expected=None)
    assert await store.get("workflow", "a") == second


async def test_a_change_that_was_made_and_changed_again_before_it_was_known_is_a_conflict(
    make: MakeStore, double: ArangoDouble
) -> None:
    """Its answer got lost, and before it was sent again somebody else went on from it."""
    ours, other = make(), make()
    first = await ours.put("workflow", "a", b"1", expected=None)

    class Meanwhile(SystemClock):
        async def sleep(self, seconds: float) -> None:
            made = await other.get("workflow", "a")
            assert made is not None
            assert made.body == b"2"
            await other.put("workflow", "a", b"3", expected=made.revision)

    ours._transport.clock = Meanwhile()
    double.misbehaviour.add(Fault(kind="cut-after", method="PATCH", times=1))
    with pytest.raises(ConflictError, match=r"read again and decide"):
        await ours.put("workflow", "a", b"2", expected=first.revision)
    found = await ours.get("workflow", "a")
    assert found is not None
    assert found.body == b"3"


@pytest.mark.parametrize(
    ("kind", "number"),
    [("cut-after", 0), ("error-after", 4), ("error-after", 30), ("error-after", 503), ("error-after", 1457)],
)
async def test_a_batch_of_results_that_got_lost_is_read_again_from_the_beginning(
    kind: str, number: int, store: ArangoStore, double: ArangoDouble, observer: RecordingObserver
) -> None:
    keys = [f"k{number:05d}" for number in range(3500)]
    await store.upsert("candles", documents(*keys))
    fault = double.misbehaviour.add(
        Fault(kind=kind, number=number, method="POST", path=r"_api/cursor/\d+", times=2, skip=1)
    )
    assert [document.key for document in await store.read("candles", limit=10_000)] == keys
    assert fault.hit == 2
    assert again(observer) == {"cursor": 2}


@pytest.mark.parametrize(("kind", "number"), [("queue-full", 21003), ("queue-time", 21004)])
async def test_a_batch_that_a_full_queue_kept_back_is_asked_for_again_alone(
    kind: str, number: int, store: ArangoStore, double: ArangoDouble, observer: RecordingObserver
) -> None:
    keys = [f"k{number:05d}" for number in range(3500)]
    await store.upsert("candles", documents(*keys))
    double.misbehaviour.add(Fault(kind=kind, method="POST", path=r"_api/cursor/\d+", times=2, skip=1))
    assert [document.key for document in await store.read("candles", limit=10_000)] == keys
    assert again(observer) == {str(number): 2}
    assert double.server.cursors == {}


async def test_no_cursor_stays_open(store: ArangoStore, double: ArangoDouble) -> None:
    keys = [f"k{number:05d}" for number in range(2500)]
    await store.upsert("candles", documents(*keys))
    assert len(await store.read("candles", limit=10_000)) == 2500
    double.misbehaviour.add(Fault(kind="read-only", method="POST", path=r"_api/cursor/\d+"))
    with pytest.raises(RetryableError):
        await store.read("candles", limit=10_000)
    assert double.server.cursors == {}


async def test_a_cursor_whose_name_got_lost_is_left_to_the_server_for_half_a_minute(
    store: ArangoStore, double: ArangoDouble
) -> None:
    keys = [f"k{number:05d}" for number in range(2500)]
    await store.upsert("candles", documents(*keys))
    double.misbehaviour.add(Fault(kind="cut-after", method="POST", path=r"_api/cursor$", times=1))
    assert [document.key for document in await store.read("candles", limit=10_000)] == keys
    (left,) = double.server.cursors.values()
    assert left.until - time.monotonic() <= 30


@pytest.mark.parametrize("kind", ["cut-before", "cut-after", "conflict", "shutdown"])
async def test_all_that_was_removed_is_told_though_an_answer_got_lost(
    kind: str, store: ArangoStore, double: ArangoDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("arango_collections", "arango_documents"):
        monkeypatch.setattr(f"streamforge_utils.adapters.arango.{module}.REMOVED_AT_ONCE", 100)
    keys = [f"k{number:03d}" for number in range(350)]
    await store.upsert("candles", documents(*keys))
    fault = double.misbehaviour.add(Fault(kind=kind, method="DELETE", path="_api/document", times=2, skip=1))
    assert await store.delete("candles", first="k010", last="k340") == 330
    assert fault.hit == 2
    assert list(await store.keys("candles")) == keys[:10] + keys[340:]
    assert await store.delete("candles", first="k010", last="k340") == 0
    assert await store.delete("nothing", first="a", last="b") == 0


async def test_documents_that_are_in_the_way_are_removed_the_next_time(
    store: ArangoStore, double: ArangoDouble
) -> None:
    keys = [f"k{number:03d}" for number in range(20)]
    await store.upsert("candles", documents(*keys))
    fault = double.misbehaviour.add(Fault(kind="element", number=1200, method="DELETE", skip=3, times=4))
    assert await store.delete("candles", first="k", last="l") == 20
    assert fault.hit == 4
    assert await store.count("candles") == 0


@pytest.mark.e2e
@one_version
async def test_who_waits_for_a_connection_does_not_wait_for_the_server(make: MakeStore, double: ArangoDouble) -> None:
    """Many slow statements at once: each is sent once, and a state is read beside them."""
    store = make(Retries(answer_s=4, attempts=3, base_s=0.001))
    await store.upsert("candles", documents("a"))
    double.misbehaviour.add(Fault(kind="slow", seconds=0.5, path="_api/cursor"))
    double.misbehaviour.requests.clear()
    counts = [asyncio.create_task(store.count("candles", first="a")) for _ in range(10 * STATEMENTS)]
    await asyncio.sleep(0)
    assert await store.get("workflow", "none") is None
    assert not any(count.done() for count in counts[STATEMENTS:])
    assert await asyncio.gather(*counts) == [1] * len(counts)
    assert double.misbehaviour.requests["POST _api/cursor"] == len(counts)


@pytest.mark.parametrize("kind", ["queue-full", "conflict", "cut-before", "maintenance"])
async def test_trouble_that_lasts_is_told_after_a_few_tries(
    kind: str, store: ArangoStore, double: ArangoDouble
) -> None:
    await store.upsert("candles", documents("a"))
    fault = double.misbehaviour.add(Fault(kind=kind, method="POST", path=WRITES))
    with pytest.raises(RetryableError, match=rf"{double.url}: store in the collection candles: given up after 5 tries"):
        await store.upsert("candles", documents("b"))
    assert fault.hit == IMPATIENT.attempts
    double.misbehaviour.clear()
    assert set(await contents(store)) == {"a"}


async def test_read_only_is_told_with_its_likely_reason(store: ArangoStore, double: ArangoDouble) -> None:
    await store.upsert("candles", documents("a"))
    double.misbehaviour.add(Fault(kind="read-only", method="POST", path=WRITES))
    with pytest.raises(RetryableError, match=r"read-only.*licence.*doctor") as error:
        await store.upsert("candles", documents("b"))
    assert error.value.retry_after == 5.0


async def test_a_user_who_is_shut_out_meanwhile_is_named(store: ArangoStore, double: ArangoDouble) -> None:
    await store.upsert("candles", documents("a"))
    double.misbehaviour.add(Fault(kind="unauthorized"))
    with pytest.raises(ConfigError, match="ARANGO_USER and ARANGO_PASSWORD") as error:
        await store.upsert("candles", documents("b"))
    assert PASSWORD not in str(error.value)


@one_version
@pytest.mark.parametrize("number", [1200, 18, 1429, 1491])
async def test_documents_of_a_batch_that_were_in_the_way_are_sent_again_alone(
    number: int, store: ArangoStore, double: ArangoDouble
) -> None:
    await store.connect()
    fault = double.misbehaviour.add(Fault(kind="element", number=number, skip=1, times=3))
    answers = await store.upsert("candles", documents("a", "b", "c", "d", "e"))
    assert fault.hit == 3
    assert [answer.outcome for answer in answers] == [Outcome.STORED] * 5
    assert set(await contents(store)) == set("abcde")
    fault = double.misbehaviour.add(Fault(kind="element", number=number, method="POST", skip=1, times=2))
    await store.link("leads", edges("b", "c", "d", "e"))
    assert fault.hit == 2
    assert [edge.destination for edge in await store.links("leads")] == [f"candles/{name}" for name in "bcde"]


TAKEN = "unique constraint violated - in index primary of type primary over '_key'; conflicting key: b"


@one_version
@pytest.mark.parametrize(
    ("number", "message", "times", "hits"),
    [
        (1210, "", 1, 1),
        (1221, "", 1, 1),
        (1620, "", 1, 1),
        (1233, "", 1, 1),
        (1210, TAKEN, None, 5),  # which somebody else may insert at this moment
        (1210, TAKEN, 5, 5),
    ],
)
async def test_a_document_or_edge_at_fault_is_refused_by_name_and_the_rest_is_stored(
    number: int, message: str, times: int | None, hits: int, store: ArangoStore, double: ArangoDouble
) -> None:
    await store.connect()
    at_fault = Fault(kind="element", number=number, message=message, method="POST", skip=1, times=times)
    fault = double.misbehaviour.add(at_fault)
    answers = await store.upsert("candles", documents("a", "b"))
    assert [answer.outcome for answer in answers] == [Outcome.STORED, Outcome.REFUSED]
    assert f"'b' is refused by ArangoDB (error {number})" in answers[1].reason
    assert fault.hit == hits
    double.misbehaviour.clear()
    assert set(await contents(store)) == {"a"}
    fault = double.misbehaviour.add(msgspec.structs.replace(at_fault, seen=0, hit=0))
    with pytest.raises(PermanentError, match=rf"edge candles/a to candles/c: .*error {number}"):
        await store.link("leads", edges("b", "c"))
    assert fault.hit == hits
    assert [edge.destination for edge in await store.links("leads")] == ["candles/b"]


@one_version
@pytest.mark.parametrize("times", [1, 4])
async def test_a_key_that_somebody_else_inserts_is_tried_again(
    times: int, store: ArangoStore, double: ArangoDouble
) -> None:
    await store.connect()
    double.misbehaviour.add(Fault(kind="element", number=1210, message=TAKEN, skip=1, times=times))
    answers = await store.upsert("candles", documents("a", "b"))
    assert [answer.outcome for answer in answers] == [Outcome.STORED] * 2
    assert set(await contents(store)) == {"a", "b"}


@one_version
async def test_read_only_is_told_with_its_likely_reason_though_each_document_says_it(
    store: ArangoStore, double: ArangoDouble
) -> None:
    await store.upsert("candles", documents("a"))
    fault = double.misbehaviour.add(Fault(kind="element", number=1004, skip=1))
    with pytest.raises(RetryableError, match=r"read-only.*licence.*doctor") as error:
        await store.upsert("candles", documents("b", "c"))
    assert (error.value.retry_after, fault.hit) == (5.0, 1), "and it is not asked again"
    with pytest.raises(RetryableError, match=r"store in the collection leads: it is read-only.*doctor"):
        await store.link("leads", edges("b", "c"))
    assert fault.hit == 3


@one_version
async def test_a_right_that_is_missing_is_named_though_each_document_says_it(
    store: ArangoStore, double: ArangoDouble
) -> None:
    await store.upsert("candles", documents("a"))
    fault = double.misbehaviour.add(Fault(kind="element", number=11))
    with pytest.raises(ConfigError, match=r"user root may not do that.*ARANGO_USER"):
        await store.upsert("candles", documents("b", "c"))
    assert fault.hit == 2
    with pytest.raises(ConfigError, match=r"remove from the collection candles: user root may not do that"):
        await store.delete("candles", first="a", last="b")
