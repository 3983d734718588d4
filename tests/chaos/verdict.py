"""What must be true of workflows that have ended, after all that was done to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

import httpx
import msgspec

from streamforge_utils.model.kinds.registry import kind_of_type, series_of
from streamforge_utils.ports.store import Document, DocumentStore
from tests.limits import LIMIT_S

LAST_WORDS = ("finished", "interrupted", "error")
_PAGE = 20_000
_ORACLES = {"candles": "klines", "trades": "historicalTrades", "agg_trades": "aggTrades"}


async def assert_stored(
    store: DocumentStore,
    client: httpx.AsyncClient,
    exchange: str,
    workflow: Mapping[str, Any],
    coverage: Mapping[str, Any],
) -> int:
    """The workflow is finished, and what is stored is right, as `assert_right` tells. Returns the number of rows."""
    assert workflow["status"] == "finished", f"{workflow['queue_id']}: {workflow['status']}, {workflow['failure']}"
    assert coverage["complete"]
    path, query = oracle_query(workflow)
    answer = await client.get(exchange + path, params=query, timeout=LIMIT_S)
    documents: list[Document] = []
    first = ""
    while page := await store.read(workflow["collection"], first=first, limit=_PAGE):
        documents += page
        first = page[-1].key + "\x00"
    kind, series = kind_of_type(workflow["type"]), series_of(workflow["symbol"], workflow["type"])
    decode = msgspec.json.Decoder(kind.stored).decode
    stored = [decode(document.body) for document in documents]
    assert [document.key for document in documents] == [kind.key(series, getattr(one, kind.position)) for one in stored]
    assert await store.count(workflow["collection"]) == len(documents)
    oracle = records_of(workflow, answer.raise_for_status().content)
    return assert_right(workflow, coverage["segments"], stored, oracle)


def oracle_query(workflow: Mapping[str, Any]) -> tuple[str, dict[str, str | int]]:
    """The request for what the exchange has of a workflow's range, and of the millisecond beside each end."""
    span, series = workflow["time_range"], workflow["type"].rpartition("_")
    query = {"symbol": workflow["symbol"], "startTime": span["start_ms"] - 1, "endTime": span["end_ms"] + 1}
    kind = kind_of_type(workflow["type"]).name
    return f"/oracle/{_ORACLES[kind]}", query | ({"interval": series[2]} if kind == "candles" else {})


def records_of(workflow: Mapping[str, Any], answer: bytes) -> list[Any]:
    """The rows of an answer of the exchange as they are stored: every decimal number is the double nearest to it."""
    kind, found = kind_of_type(workflow["type"]), []
    names = kind.stored.__struct_fields__
    head = [workflow["symbol"], workflow["type"].rpartition("_")[2]][: names.index(kind.position)]
    for row in msgspec.json.decode(answer):
        values = row if isinstance(row, list) else [value for name, value in row.items() if name != "quoteQty"]
        cells = [float(value) if isinstance(value, str) else value for value in values]
        found.append(kind.stored(**dict(zip(names, [*head, *cells], strict=False))))
    return found


def assert_right(
    workflow: Mapping[str, Any],
    segments: Sequence[Mapping[str, Any]],
    stored: Sequence[Any],
    oracle: Sequence[Any],
) -> int:
    """The set of the oracle is stored exactly, or the workflow ended in `error` and its coverage names each hole.

    segments: the coverage of its range. stored: all of its collection. oracle: `records_of` the exchange. Records of
    the millisecond beside an end may be stored, too. Returns the number of records that are stored of the range.
    """
    name, kind = workflow["queue_id"], kind_of_type(workflow["type"])
    span = workflow["time_range"]

    def keyed(records: Sequence[Any], start_ms: int, end_ms: int) -> dict[int, Any]:
        return {getattr(r, kind.position): r for r in records if start_ms <= getattr(r, kind.time) < end_ms}

    positions = [getattr(record, kind.position) for record in stored]
    assert positions == sorted(set(positions)), f"{name}: rows twice, or in disorder"
    every = {getattr(record, kind.position): record for record in oracle}
    wrong = [(record, every.get(position)) for position, record in zip(positions, stored, strict=True)]
    wrong = [(ours, theirs) for ours, theirs in wrong if ours != theirs]
    assert not wrong, f"{name}: {len(wrong)} rows are not the exchange's, first {wrong[0]}"
    ours, theirs = (keyed(records, span["start_ms"], span["end_ms"]) for records in (stored, oracle))
    lost = [theirs[position] for position in sorted(theirs.keys() - ours)]
    verdicts = [segment["verdict"] for segment in segments]
    assert (segments[0]["start_ms"], segments[-1]["end_ms"]) == (span["start_ms"], span["end_ms"]), segments
    assert all(one["end_ms"] == two["start_ms"] for one, two in pairwise(segments)), segments
    for segment in segments:
        if segment["verdict"] == "stored":
            held = keyed(oracle, segment["start_ms"], segment["end_ms"])
            assert held.keys() <= ours.keys(), f"{name}: {segment} lacks {sorted(held.keys() - ours)[:3]}"
            assert segment["records"] == len(held), f"{name}: {segment} has {len(held)} records"
            if "first_id" in segment:
                assert (segment["first_id"], segment["last_id"]) == (min(held), max(held)), f"{name}: {segment}"
    if workflow["status"] == "finished":
        assert not lost, f"{name}: finished, but {len(lost)} rows are lost, first {lost[0]}"
        assert set(verdicts) - {"closed"} == {"stored"}, f"{name}: {segments}"
        assert workflow["coverage"]["complete"], name
        progress = workflow["progress"]
        assert progress["records_stored"] == progress["records_expected"] == len(theirs), f"{name}: {progress}"
    else:
        assert workflow["status"] == "error", f"{name}: {workflow['status']}"
        assert workflow["failure"]["reason"], name
        assert workflow["failure"]["next_step"], name
        assert not (workflow["coverage"] or {}).get("complete"), name
        assert set(verdicts) - {"stored"}, f"{name}: no hole is named: {segments}"
    return len(ours)


def assert_history(
    workflow: Mapping[str, Any], events: Sequence[Mapping[str, Any]], doubled: Collection[str] = ()
) -> None:
    """Attempts without gaps, each with one last word, at most one `started`, and nothing after the last word.

    doubled: jobs of which two processes may have spoken; they ended with a last word, too.
    """
    name = workflow["queue_id"]
    said: dict[tuple[str, int], list[str]] = defaultdict(list)
    for event in events:
        # What is left out in the JSON has its default.
        said[(event["target"], event.get("attempt", 1))].append(event["event"])
    made = {(s["target"], a["number"]) for s in workflow["steps"] for a in s["attempts"]}
    for step in workflow["steps"]:
        numbers = [attempt["number"] for attempt in step["attempts"]]
        assert numbers == list(range(1, len(numbers) + 1)), f"{name} {step['target']}: attempts {numbers}"
    assert set(said) == made, f"{name}: heard of {set(said) - made}, never of {made - set(said)}"
    jobs = {(s["target"], a["number"]): a["job"] for s in workflow["steps"] for a in s["attempts"]}
    for who, words in said.items():
        assert words[-1] in LAST_WORDS, f"{name} {who}: spoke after its last word: {_plain(words)}"
        if jobs[who] in doubled:
            continue
        assert sum(word in LAST_WORDS for word in words) == 1, f"{name} {who}: {_plain(words)}"
        assert words.count("started") <= 1, f"{name} {who}: {_plain(words)}"
    for step in workflow["steps"]:
        for attempt in step["attempts"]:
            assert attempt["last_word"] == said[(step["target"], attempt["number"])][-1]
            assert attempt["ended_at"] is not None, f"{name} {step['target']} {attempt}"


def _plain(words: Sequence[str]) -> list[str]:
    return [word for word in words if word != "loading"]
