"""What must be true of workflows that have ended, after all that was done to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import httpx
import msgspec

from streamforge_utils.model.kinds.candles import StoredCandle, candle_key
from streamforge_utils.ports.store import Document, DocumentStore
from tests.limits import LIMIT_S

LAST_WORDS = ("finished", "interrupted", "error")
_PAGE = 20_000


async def assert_rows(
    store: DocumentStore, client: httpx.AsyncClient, exchange: str, workflow: Mapping[str, Any]
) -> int:
    """What is stored is what the exchange has, field by field, each once. Returns the number of rows."""
    symbol, interval = workflow["symbol"], workflow["type"].rpartition("_")[2]
    span = workflow["time_range"]
    answer = await client.get(
        f"{exchange}/oracle/klines",
        params={"symbol": symbol, "interval": interval, "startTime": span["start_ms"], "endTime": span["end_ms"]},
        timeout=LIMIT_S,
    )
    expected = [(candle_key(symbol, interval, row[0]), _candle(symbol, interval, row)) for row in answer.json()]
    documents: list[Document] = []
    first = ""
    while page := await store.read(workflow["collection"], first=first, limit=_PAGE):
        documents += page
        first = page[-1].key + "\x00"
    decode = msgspec.json.Decoder(StoredCandle).decode
    stored = [(document.key, decode(document.body)) for document in documents]
    name = workflow["queue_id"]
    keys = [key for key, _ in stored]
    assert len(keys) == len(set(keys)), f"{name}: duplicated rows"
    lost = sorted({key for key, _ in expected} - set(keys))
    assert not lost, f"{name}: {len(lost)} rows lost, first {lost[:3]}"
    assert stored == expected, f"{name}: rows differ, first {_first_difference(stored, expected)}"
    assert await store.count(workflow["collection"]) == len(expected)
    assert workflow["progress"]["records_stored"] == workflow["progress"]["records_expected"] == len(expected)
    return len(expected)


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


def assert_covered(workflow: Mapping[str, Any], coverage: Mapping[str, Any]) -> None:
    """Finished, and every bar of the range stored."""
    assert workflow["status"] == "finished", f"{workflow['queue_id']}: {workflow['status']}, {workflow['failure']}"
    assert coverage["complete"]
    assert [v["verdict"] for v in coverage["verdicts"]] == ["stored"], coverage["verdicts"]


def _candle(symbol: str, interval: str, row: Sequence[Any]) -> StoredCandle:
    """A row of the exchange's API: its cells but the last are the fields, in their order."""
    cells = [row[0], *map(float, row[1:6]), row[6], float(row[7]), row[8], *map(float, row[9:11])]
    return StoredCandle(**dict(zip(StoredCandle.__struct_fields__, [symbol, interval, *cells], strict=True)))


def _first_difference(stored: Sequence[object], expected: Sequence[object]) -> object:
    return next(((s, e) for s, e in zip(stored, expected, strict=False) if s != e), (len(stored), len(expected)))


def _plain(words: Sequence[str]) -> list[str]:
    return [word for word in words if word != "loading"]
