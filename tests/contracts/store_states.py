"""What every store promises of states and edges."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest

from streamforge_utils.model.errors import ConflictError, InvalidInput, PermanentError
from streamforge_utils.ports.store import Edge, State, Store
from tests.contracts.remote_process import ended, increment, line, remote
from tests.contracts.store import Factory, StoreFixtures


class StateContract(StoreFixtures):
    """States: compare-and-set, and pages by label."""

    @pytest.fixture
    def kind(self) -> str:
        return f"contract{secrets.token_hex(6)}"

    async def test_a_state_is_read_as_it_was_put(self, store: Store, other: Store, kind: str) -> None:
        assert await store.get(kind, "a") is None
        put = await store.put(kind, "a", b'{"n": 1}', expected=None, labels={"status": "pending"}, created_ms=17)
        assert put == State(
            id="a", revision=put.revision, body=b'{"n": 1}', labels={"status": "pending"}, created_ms=17
        )
        assert await store.get(kind, "a") == put
        assert await other.get(kind, "a") == put
        assert await store.get(kind + "x", "a") is None

    async def test_a_state_is_changed_and_removed_only_by_who_knows_its_revision(
        self, store: Store, other: Store, kind: str
    ) -> None:
        with pytest.raises(ConflictError):
            await store.put(kind, "a", b"1", expected="1")
        assert await store.get(kind, "a") is None
        first = await store.put(kind, "a", b"1", expected=None, labels={"s": "1"})
        second = await other.put(kind, "a", b"2", expected=first.revision, labels={"s": "2"})
        for expected in (first.revision, None, "never-given"):
            with pytest.raises(ConflictError, match="a"):
                await store.put(kind, "a", b"3", expected=expected, labels={"s": "3"})
        with pytest.raises(ConflictError):
            await store.remove(kind, "a", expected=first.revision)
        assert await store.get(kind, "a") == second
        assert [s.id for s in await store.find(kind, where={"s": ["1", "3"]})] == []
        for _ in range(2):
            await store.remove(kind, "a", expected=second.revision)
        assert await store.get(kind, "a") is None
        assert await store.find(kind, where={"s": ["2"]}) == []
        assert await store.find(kind) == []
        third = await store.put(kind, "a", b"1", expected=None)
        assert len({first.revision, second.revision, third.revision}) == 3

    async def test_creation_time_stays_and_labels_are_replaced_where_they_are_given(
        self, store: Store, kind: str
    ) -> None:
        first = await store.put(kind, "a", b"1", expected=None, labels={"s": "1", "old": "x"}, created_ms=5)
        second = await store.put(kind, "a", b"2", expected=first.revision, labels={"s": "2"}, created_ms=99)
        assert (second.created_ms, second.labels) == (5, {"s": "2"})
        assert await store.find(kind, where={"s": ["1"]}) == []
        assert await store.find(kind, where={"old": ["x"]}) == []
        third = await store.put(kind, "a", b"3", expected=second.revision)
        assert third.labels == {"s": "2"}
        assert await store.find(kind, where={"s": ["2"]}) == [third]
        fourth = await store.put(kind, "a", b"4", expected=third.revision, labels={})
        assert fourth.labels == {}
        assert await store.find(kind, where={"s": ["2"]}) == []

    async def test_find_gives_the_newest_first(self, store: Store, kind: str) -> None:
        for id, created in (("b", 2), ("a", 2), ("z", 1), ("c", 3)):
            await store.put(kind, id, b"{}", expected=None, created_ms=created)
        assert [s.id for s in await store.find(kind)] == ["c", "b", "a", "z"]
        assert [s.id for s in await store.find(kind, limit=2)] == ["c", "b"]
        assert [s.id for s in await store.find(kind, after="b")] == ["a", "z"]
        assert [s.id for s in await store.find(kind, after="z")] == []
        assert await store.find(kind, limit=0) == []
        assert await store.find(kind + "x") == []

    async def test_find_needs_one_value_of_every_label(self, store: Store, kind: str) -> None:
        for number in range(12):
            labels = {"status": "even" if number % 2 == 0 else "odd", "third": str(number % 3)}
            await store.put(kind, f"s{number:02d}", b"{}", expected=None, labels=labels, created_ms=number)

        async def found(**where: list[str]) -> list[int]:
            return [int(s.id[1:]) for s in await store.find(kind, where=where)]

        assert await found(status=["even"]) == [10, 8, 6, 4, 2, 0]
        assert await found(status=["even", "odd"]) == list(range(11, -1, -1))
        assert await found(status=["even", "even"]) == [10, 8, 6, 4, 2, 0]
        assert await found(status=["even"], third=["0"]) == [6, 0]
        assert await found(status=["even"], third=["0", "1"]) == [10, 6, 4, 0]
        assert await found(status=["even", "odd"], third=["2"]) == [11, 8, 5, 2]
        assert await found(status=["none"]) == []
        assert await found(status=[]) == []
        assert await found(nolabel=["x"]) == []

    async def test_many_are_read_at_once(self, store: Store, kind: str) -> None:
        assert await store.get_many(kind, ["one"]) == {}
        made = [await store.put(kind, f"s/{n} ключ", b"\xff%d" % n, expected=None, created_ms=n) for n in range(250)]
        await store.put(f"{kind}2", "other", b"{}", expected=None)
        ids = [state.id for state in made]
        assert await store.get_many(kind, [*ids[::2], "none", ids[0], "other"]) == {one.id: one for one in made[::2]}
        assert await store.get_many(kind, ids) == {one.id: one for one in made}
        assert await store.get_many(kind, []) == {}

    async def test_a_prefix_is_what_ids_begin_with(self, store: Store, kind: str) -> None:
        for number, id in enumerate(("wf-b", "wf-bn", "wf-B", "b-wf-b", "wf-ключ", "wf-кл", "wf-%", "wf-_")):
            labels = {"s": "odd" if number % 2 else "even"}
            await store.put(kind, id, b"{}", expected=None, labels=labels, created_ms=number)

        async def found(prefix: str, **where: list[str]) -> list[str]:
            return [state.id for state in await store.find(kind, where=where, prefix=prefix)]

        assert await found("wf-b") == ["wf-bn", "wf-b"]
        assert await found("wf-b", s=["odd"]) == ["wf-bn"]
        assert await found("wf-кл") == ["wf-кл", "wf-ключ"]
        assert await found("wf-%") == ["wf-%"]
        assert await found("wf-_") == ["wf-_"]
        assert await found("none") == []
        pages = await store.find(kind, prefix="wf-", limit=3)
        pages = [*pages, *await store.find(kind, prefix="wf-", after=pages[-1].id)]
        assert [state.id for state in pages] == await found("wf-")
        assert len(pages) == 7

    async def test_a_label_may_begin_with_any_of_some_texts(self, store: Store, kind: str) -> None:
        for number, symbol in enumerate(("BTCUSDT", "BTC", "BT", "BTD", "btc", "B%", "ETHUSDT", "币安", "币安人生")):
            labels = {"symbol": symbol, "status": "odd" if number % 2 else "even"}
            await store.put(kind, f"wf-{number}", b"{}", expected=None, labels=labels, created_ms=number // 2)
        await store.put(kind, "wf-bare", b"{}", expected=None, created_ms=9)

        async def found(*begins: str, after: str | None = None, **where: list[str]) -> str:
            states = await store.find(kind, where=where, begins={"symbol": begins}, after=after)
            counted = await store.tally(kind, "symbol", where=where, begins={"symbol": begins})
            if after is None:
                assert sum(counted.values()) == len(states)
            return "".join(state.id[-1] for state in states)

        assert await found("BTC") == "10"
        assert await found("BTC", "btc") == "410"
        assert await found("BTC", "BTC", "BTCU") == "10"
        assert await found("B") == "53210"
        assert await found("B", after="wf-3") == "210"
        assert await found("B", status=["even"]) == "20"
        assert await found("B", status=["none"]) == ""
        assert await found("B%") == "5"
        assert await found("币安") == "87"
        assert await found("N", "n") == ""
        assert await found() == ""
        assert await store.tally(kind, "status", begins={"symbol": ["B"]}) == {"even": 2, "odd": 3}
        assert await store.tally(kind, "status", begins={"symbol": ["B"]}, where={"status": ["odd"]}) == {"odd": 3}
        assert await store.tally(kind, "status", begins={"symbol": ["B"]}, prefix="wf-5") == {"odd": 1}

    async def test_a_tally_counts_what_find_would_give_by_the_values_of_a_label(self, store: Store, kind: str) -> None:
        assert await store.tally(kind, "status") == {}
        for number in range(12):
            labels = {"status": "even" if number % 2 == 0 else "odd", "third": str(number % 3)}
            await store.put(kind, f"s{number:02d}", b"{}", expected=None, labels=labels, created_ms=number)
        bare = await store.put(kind, "bare", b"{}", expected=None, labels={"third": "0"})
        assert await store.tally(kind, "status") == {"even": 6, "odd": 6}
        assert await store.tally(kind, "status", where={"third": ["0"]}) == {"even": 2, "odd": 2}
        assert await store.tally(kind, "status", where={"third": ["0", "1"], "status": ["odd"]}) == {"odd": 4}
        assert await store.tally(kind, "third", where={"status": ["even"]}) == {"0": 2, "1": 2, "2": 2}
        assert await store.tally(kind, "status", prefix="s1") == {"even": 1, "odd": 1}
        assert await store.tally(kind, "third", prefix="s1", where={"status": ["odd"]}) == {"2": 1}
        assert await store.tally(kind, "status", where={"third": []}) == {}
        assert await store.tally(kind, "nolabel") == {}
        changed = await store.put(kind, "bare", b"{}", expected=bare.revision, labels={"status": "odd"})
        assert await store.tally(kind, "status") == {"even": 6, "odd": 7}
        await store.remove(kind, "bare", expected=changed.revision)
        assert await store.tally(kind, "status") == {"even": 6, "odd": 6}

    async def test_pages_of_any_size_give_every_state_once(self, store: Store, kind: str) -> None:
        for number in range(40):
            labels = {"status": "abc"[number % 3]}
            await store.put(
                kind, f"s{number % 7}-{number}", b"{}", expected=None, labels=labels, created_ms=number // 4
            )
        for size, (where, count) in product((1, 3, 10, 40, 41), ((None, 40), ({"status": ["a", "b"]}, 27))):
            pages: list[State] = []
            after = None
            for _ in range(50):
                page = list(await store.find(kind, where=where, after=after, limit=size))
                pages += page
                if len(page) < size:
                    break
                after = page[-1].id
            assert pages == list(await store.find(kind, where=where))
            assert len(pages) == count

    async def test_a_page_goes_on_after_a_state_whose_labels_changed(self, store: Store, kind: str) -> None:
        for number in range(3):
            await store.put(kind, f"s{number}", b"{}", expected=None, labels={"s": "live"}, created_ms=number)
        (last,) = await store.find(kind, where={"s": ["live"]}, limit=1)
        await store.put(kind, last.id, b"{}", expected=last.revision, labels={"s": "ended"})
        assert [s.id for s in await store.find(kind, where={"s": ["live"]}, after=last.id)] == ["s1", "s0"]

    async def test_a_page_after_a_removed_state_is_refused_by_name(self, store: Store, kind: str) -> None:
        await store.put(kind, "a", b"{}", expected=None)
        with pytest.raises(InvalidInput, match="gone"):
            await store.find(kind, after="gone")

    async def test_any_text_may_be_an_id_or_a_label(self, store: Store, kind: str) -> None:
        id, labels = "BTC/candles/1m ключ '\"%", {"имя '\"": "значение %_", "empty": ""}
        put = await store.put(kind, id, b"\x00binary\xff", expected=None, labels=labels)
        assert await store.get(kind, id) == put
        assert await store.find(kind, where={"имя '\"": ["значение %_"], "empty": [""]}) == [put]

    async def test_no_update_is_lost_between_processes(self, store: Store, factory: Factory, kind: str) -> None:
        async with (
            remote(factory, "increment", kind, "counter", "100") as one,
            remote(factory, "increment", kind, "counter", "100") as two,
        ):
            assert [await line(one), await line(two)] == ["ready", "ready"]
            await asyncio.gather(*(increment(store, kind, "counter", 25) for _ in range(4)))
            assert [await ended(one), await ended(two)] == [0, 0]
        state = await store.get(kind, "counter")
        assert state is not None
        assert state.body == b"300"

    async def test_one_of_many_creates(self, store: Store, other: Store, kind: str) -> None:
        answers = await asyncio.gather(
            *((store, other)[n % 2].put(kind, "a", b"%d" % n, expected=None) for n in range(10)), return_exceptions=True
        )
        (winner,) = [answer for answer in answers if isinstance(answer, State)]
        assert all(isinstance(answer, ConflictError) for answer in answers if answer is not winner)
        assert await store.get(kind, "a") == winner


def said(edges: Sequence[Edge]) -> list[tuple[str, str, Any]]:
    """Both ends of each edge and what its body says; how a store writes it is its own affair."""
    return [(edge.source, edge.destination, json.loads(edge.body)) for edge in edges]


class EdgeContract(StoreFixtures):
    """Edges: one per pair of documents."""

    @pytest.fixture
    def edges(self) -> str:
        return f"contract_{secrets.token_hex(6)}"

    async def test_edges_are_found_by_either_end(self, store: Store, other: Store, edges: str) -> None:
        ab, ac, cb = Edge("x/a", "x/b"), Edge("x/a", "y/c", b'{"n": 1}'), Edge("y/c", "x/b")
        await store.link(edges, [cb, ac, ab])
        for handle in (store, other):
            assert said(await handle.links(edges)) == said([ab, ac, cb])
            assert said(await handle.links(edges, source="x/a")) == said([ab, ac])
            assert said(await handle.links(edges, destination="x/b")) == said([ab, cb])
            assert said(await handle.links(edges, source="x/a", destination="x/b")) == said([ab])
            assert said(await handle.links(edges, source="x/b")) == []
            assert said(await handle.links(edges + "_")) == []

    async def test_an_edge_that_exists_is_replaced(self, store: Store, edges: str) -> None:
        await store.link(edges, [Edge("x/a", "x/b", b'{"n": 1}'), Edge("x/a", "x/b", b'{"n": 2}')])
        await store.link(edges, [Edge("x/a", "x/b", b'{"n": 3}')])
        assert said(await store.links(edges)) == said([Edge("x/a", "x/b", b'{"n": 3}')])
        await store.link(edges, [])
        assert said(await store.links(edges)) == said([Edge("x/a", "x/b", b'{"n": 3}')])

    async def test_edges_are_removed_with_their_sources(self, store: Store, edges: str) -> None:
        ab, ac, cb = Edge("x/a", "x/b"), Edge("x/a", "y/c"), Edge("y/c", "x/b")
        await store.unlink(edges, ["x/a"])
        await store.link(edges, [ab, ac, cb])
        assert said(await store.links_from(edges, ["y/c", "x/a", "x/z"])) == said([ab, ac, cb])
        assert said(await store.links_from(edges, ["y/c", "no name"])) == said([cb])
        assert said(await store.links_from(edges, [])) == []
        await store.unlink(edges, ["x/b", "no name", "x/z"])
        assert said(await store.links(edges)) == said([ab, ac, cb])
        await store.unlink(edges, ["x/a", "x/b"])
        assert said(await store.links(edges)) == said([cb])
        await store.link(edges, [ab])
        assert said(await store.links(edges)) == said([ab, cb])

    async def test_a_collection_is_dropped_with_its_edges_and_no_others(self, store: Store, edges: str) -> None:
        others, ab, ba = f"{edges}_", Edge("x/a", "x/b"), Edge("x/b", "x/a")
        await store.drop(edges)
        await store.link(edges, [ab, ba])
        await store.link(others, [ab])
        await store.drop(edges)
        assert said(await store.links(edges)) == said(await store.links(edges, destination="x/b")) == []
        assert said(await store.links(others)) == said(await store.links(others, destination="x/b")) == said([ab])
        await store.link(edges, [ba])
        assert said(await store.links(edges)) == said([ba])
        await store.drop(others)

    async def test_a_malformed_name_is_named_and_nothing_is_stored(self, store: Store, edges: str) -> None:
        for name in ("", "a", "a/", "/b", "a/b/c", "1a/b", "a/b c", "a/я"):
            for edge in (Edge(name, "x/b"), Edge("x/b", name)):
                with pytest.raises(PermanentError, match="edge"):
                    await store.link(edges, [Edge("x/a", "x/b"), edge])
            assert said(await store.links(edges, source=name)) == []
        assert said(await store.links(edges)) == []

    async def test_a_body_that_is_no_object_is_refused(self, store: Store, edges: str) -> None:
        with pytest.raises(PermanentError, match="object"):
            await store.link(edges, [Edge("x/a", "x/b", b"[]")])
