"""What every store promises of records of known kinds, which are documents too: their positions, fields and order."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.kinds.registry import kind_named, kind_of, series_of
from streamforge_utils.model.series import Series
from streamforge_utils.ports.columns import DocumentColumns, RecordColumns
from streamforge_utils.ports.store import Document, Store
from tests.contracts.store import PROPERTY, REFUSED, STALE, STORED, UNCHANGED, StoreFixtures, content, outcomes

MINUTE, START = 60_000, 1_722_470_400_000
CANDLES, TRADES, AGGREGATES = (series_of("BTCUSDT", one) for one in ("api_candles_1m", "api_trades", "api_agg_trades"))
HOURS = series_of("BTCUSDT", "api_candles_1h")
KINDS = ["candles", "trades", "agg_trades", "depth", "depth_top", "depth_checkpoint", "depth_interval"]


def made(series: Series, positions: Sequence[int], version: int = 1, **changes: Any) -> RecordColumns:
    """Records of a series, as a sink has them."""
    kind = kind_of(series)
    found = [msgspec.structs.replace(kind.imitation(series, one), version=version, **changes) for one in positions]
    records = kind.records([one.key.encode() for one in found], [msgspec.json.encode(one) for one in found])
    assert records is not None
    return RecordColumns(kind, records)


def minutes(*numbers: int) -> list[int]:
    return [START + number * MINUTE for number in numbers]


def plain(columns: DocumentColumns) -> list[Document]:
    return sorted(columns, key=lambda one: one.key)


class RecordContract(StoreFixtures):
    """Records: what is stored of them, and how it is read."""

    @pytest.mark.parametrize("name", KINDS)
    async def test_a_record_of_any_kind_is_read_as_the_document_that_it_is(
        self, store: Store, collection: str, name: str
    ) -> None:
        kind: RecordKind = kind_named(name)
        example = Document(*kind.document(None, msgspec.json.encode(kind.example)))
        record = kind.record_in(example.key, example.version, example.body)
        assert record is not None
        assert outcomes(await store.upsert(collection, RecordColumns(kind, [record]))) == [STORED]
        (found,) = await store.read(collection)
        assert (found.key, content(found)) == (example.key, content(example))
        assert kind.as_exported(found.body) == example.body
        assert outcomes(await store.upsert(collection, [example])) == [UNCHANGED]
        position = getattr(kind.example, kind.position)
        names = kind.columns
        (row,) = await store.values(collection, kind.series_of(record), range(position, position + 1), names, limit=9)
        assert json.loads(msgspec.json.encode(dict(zip(names, row, strict=True)))) == json.loads(example.body)

    @pytest.mark.parametrize("series", [CANDLES, TRADES, AGGREGATES], ids=lambda one: one.kind)
    async def test_positions_and_fields_are_those_of_the_range_ascending(
        self, store: Store, other: Store, collection: str, series: Series
    ) -> None:
        kind = kind_of(series)
        wanted = [START + n * MINUTE for n in (7, 1, 3, 2)]
        positions = wanted if series is CANDLES else [number // 10**6 + at for at, number in enumerate(wanted)]
        await store.upsert(collection, made(series, positions))
        ascending = sorted(positions)
        every = range(10**kind.digits - 1)
        for handle in (store, other):
            assert list(await handle.positions(collection, series, every, limit=99)) == ascending
            assert list(await handle.positions(collection, series, every, limit=2)) == ascending[:2]
            within = range(ascending[1], ascending[3])
            assert list(await handle.positions(collection, series, within, limit=99)) == ascending[1:3]
            found = await handle.values(collection, series, within, (kind.position, "symbol"), limit=99)
            assert [tuple(one) for one in found] == [(one, "BTCUSDT") for one in ascending[1:3]]
            assert list(await handle.values(collection, series, within, (kind.position,), limit=1)) == [(ascending[1],)]
        assert list(await store.positions(collection, HOURS, every, limit=9)) == []
        assert list(await store.positions("nothing", series, every, limit=9)) == []
        assert list(await store.values("nothing", series, every, ("symbol",), limit=9)) == []

    async def test_flags_and_nested_values_are_what_they_were(self, store: Store, collection: str) -> None:
        await store.upsert(collection, made(TRADES, [5], is_buyer_maker=False))
        await store.upsert(collection, made(TRADES, [6], is_buyer_maker=True))
        found = await store.values(collection, TRADES, range(9), ("is_buyer_maker",), limit=9)
        assert [one is True for (one,) in found] == [False, True]
        assert [json.loads(one.body)["is_buyer_maker"] for one in await store.read(collection)] == [False, True]

    async def test_the_newer_content_stays_and_the_same_is_told(self, store: Store, collection: str) -> None:
        assert outcomes(await store.upsert(collection, made(CANDLES, minutes(1, 2), 5))) == [STORED] * 2
        assert outcomes(await store.upsert(collection, made(CANDLES, minutes(0, 1, 2), 9))) == [
            STORED,
            UNCHANGED,
            UNCHANGED,
        ]
        assert outcomes(await store.upsert(collection, made(CANDLES, minutes(1), 7, close="1.5"))) == [STALE]
        assert outcomes(await store.upsert(collection, made(CANDLES, minutes(2), 10, close="1.5"))) == [STORED]
        found = await store.read(collection)
        assert [one.version for one in found] == [9, 9, 10]
        assert [json.loads(one.body)["close"] for one in found] == [64592.0, 64592.0, 1.5]

    async def test_series_and_kinds_and_other_documents_lie_in_one_collection_in_the_order_of_their_keys(
        self, store: Store, collection: str
    ) -> None:
        """Keys of trades, `BTCUSDT_` with an id, stand on both sides of those of candles."""
        ether = series_of("ETHUSDT", "api_candles_1m")
        parts: list[DocumentColumns] = [
            made(CANDLES, minutes(1, 2)),
            made(TRADES, [1, 2, 999_999_999_999]),
            made(HOURS, [START]),
            made(ether, minutes(4)),
            DocumentColumns.of([Document("BTCUSDT_1m_note", 1, b'{"n":1}'), Document("a", 1, b"{}")]),
        ]
        for part in parts:
            assert outcomes(await store.upsert(collection, part)) == [STORED] * len(part)
        every = sorted((one for part in parts for one in part), key=lambda one: one.key)
        keys = [one.key for one in every]
        assert [(d.key, content(d)) for d in await store.read(collection)] == [(d.key, content(d)) for d in every]
        assert list(await store.keys(collection)) == keys
        assert await store.count(collection) == len(keys)
        for size in (1, 3):
            pages, first = list[str](), ""
            while page := await store.keys(collection, first=first, limit=size):
                pages += page
                first = page[-1] + "\x00"
            assert pages == keys
        assert await store.present(collection, [*keys, "b", "BTCUSDT_1m_1"]) == set(keys)
        assert [one.key for one in await store.fetch(collection, keys[::-1])] == keys
        await store.delete_keys(collection, [keys[0], keys[-2]])
        del keys[-2], keys[0]
        assert await store.delete(collection, first=keys[1], last=keys[3]) == 2
        del keys[1:3]
        assert list(await store.keys(collection)) == keys

    async def test_a_document_and_a_record_of_one_key_replace_each_other(self, store: Store, collection: str) -> None:
        (record,) = made(CANDLES, minutes(1), 5)
        note = Document(record.key, 6, b'{"note":"no candle"}')
        assert outcomes(await store.upsert(collection, made(CANDLES, minutes(1), 5))) == [STORED]
        assert outcomes(await store.upsert(collection, [note])) == [STORED]
        assert [(d.key, content(d)) for d in await store.read(collection)] == [(note.key, content(note))]
        assert list(await store.positions(collection, CANDLES, range(START, START + 2 * MINUTE), limit=9)) == [
            START + MINUTE
        ]
        assert outcomes(await store.upsert(collection, made(CANDLES, minutes(1), 5))) == [STALE]
        assert outcomes(await store.upsert(collection, made(CANDLES, minutes(0, 1), 7))) == [STORED] * 2
        assert await store.count(collection) == 2
        assert [json.loads(d.body)["open_time"] for d in await store.read(collection)] == minutes(0, 1)

    async def test_two_kinds_with_the_same_keys_replace_each_other(self, store: Store, collection: str) -> None:
        await store.upsert(collection, made(TRADES, [1, 2], 5))
        assert outcomes(await store.upsert(collection, made(AGGREGATES, [2, 3], 6))) == [STORED] * 2
        found = [json.loads(one.body) for one in await store.read(collection)]
        assert [("first_trade_id" in one, one["trade_id"]) for one in found] == [(False, 1), (True, 2), (True, 3)]
        assert list(await store.positions(collection, TRADES, range(9), limit=9)) == [1, 2, 3]

    async def test_a_batch_of_several_series_with_a_refused_document(self, store: Store, collection: str) -> None:
        ether = series_of("ETHUSDT", "api_candles_1m")
        mixed = RecordColumns(kind_of(ether), [*made(CANDLES, minutes(1)).records, *made(ether, minutes(1)).records])
        assert outcomes(await store.upsert(collection, mixed)) == [STORED] * 2
        again = [*mixed, Document("a b", 1, b"{}")]
        assert outcomes(await store.upsert(collection, again)) == [UNCHANGED, UNCHANGED, REFUSED]
        assert len(await store.positions(collection, ether, range(START, START + 9 * MINUTE), limit=9)) == 1

    @PROPERTY
    @given(
        ids=st.lists(st.integers(0, 10**12 - 1) | st.integers(0, 40), min_size=1, max_size=12),
        first=st.text("BTCUSD_0123456789m`\x00~", max_size=12) | st.just("BTCUSDT_0000000000"),
        last=st.text("BTCUSD_0123456789m`\x00~", max_size=12) | st.just("BTCUSDT_00000000001") | st.none(),
        limit=st.integers(0, 9),
    )
    async def test_any_range_of_keys_is_that_of_the_records(
        self, store: Store, ids: list[int], first: str, last: str | None, limit: int
    ) -> None:
        name = "contract_ranges"
        await store.drop(name)
        await store.upsert(name, made(TRADES, [*dict.fromkeys(ids)]))
        within = sorted({f"BTCUSDT_{id:012}" for id in ids})
        within = [key for key in within if first <= key and (last is None or key < last)]
        assert list(await store.keys(name, first=first, last=last, limit=limit)) == within[:limit]
        assert [d.key for d in await store.read(name, first=first, last=last, limit=limit)] == within[:limit]
        assert await store.count(name, first=first, last=last) == len(within)
        if last is not None:
            assert await store.delete(name, first=first, last=last) == len(within)
            assert await store.count(name) == len({*ids}) - len(within)
        await store.drop(name)
