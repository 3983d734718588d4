"""Every fault of the exchange, as whole workflows: of trades over REST, and of each kind from the archive.

Whatever it does, the exchange's own set of records is stored, or the workflow ends in `error` and names each hole.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from streamforge.exchange.faults import FAULTS
from streamforge_utils.model.kinds.registry import kind_of_type
from streamforge_utils.model.timeranges import parse_time_range
from tests.chaos.verdict import assert_right, oracle_query, records_of
from tests.e2e import rig
from tests.limits import LIMIT_S

TWO_HOURS = "2024-08-05T09:00:00Z:2024-08-05T11:00:00Z"
"""Two pages of trades, and two of aggregated ones."""
FLOOR = 36_651_500
"""An aggregated trade in the middle of them."""

REST: dict[str, dict[str, str]] = {
    "429": {"retry_after=0,after=2,count=2": ""},
    "418": {"seconds=1,count=1": ""},
    **{name: {"after=2,count=2": ""} for name in ("502", "503", "504", "timeout", "garbage", "truncated")},
    "500": {"after=2,count=2": "", "after=8": "HTTP 500"},
    "451": {"after=8": "HTTP 451"},
    "stall": {"seconds=0.2,after=2,count=2": ""},
    "empty": {"": ""},
    "missing": {"rows=3": ""},
    "duplicate": {"rows=3": ""},
    "disordered": {"": ""},
    "shifted": {"by=2": "", "by=-1": "contradicted itself"},
    "short": {"rows=400": ""},
    "reversed": {"": ""},
    "floor": {f"id={FLOOR},path=aggTrades": f"no record before id {FLOOR}"},
    "open-candle": {"": ""},
    "torn": {"": "", "side=last": "", "always=1": "", "side=last,always=1": ""},
    "bad-number": {"count=1": "", "kind=columns,after=8": "cannot be read"},
    "slow": {"ms=20": ""},
    "drip": {"bytes=20000,ms=5": ""},
    "cut": {"after=2,count=2": "", "after=8": "broke off"},
    "skew": {"seconds=60": "", "seconds=-60": ""},
}
"""Of each fault its options, and what the reason of the failure holds; nothing: the workflow finishes."""
WAITED_FOR = {"waf", "held"}
"""See `test_limits.py`, and the tests that lift it."""
OF_LIVE = {"revised"}
"""What is past is asked for once; see `test_stream_fault_matrix.py`."""

ARCHIVE = [
    *(
        f"{name}:{','.join(f'{key}={value}' for key, value in zip(kind.choices, chosen, strict=True))}"
        for name, kind in FAULTS.items()
        if kind.of_archive
        for chosen in product(*kind.choices.values())
        if chosen != ("altered",)
    ),
    "archive-rows:kind=altered,rows=0",  # one altered row has a test of its own
    "archive-missing:listed=1",
    *("503:path=archive,count=3", "503:path=listing,count=2", "garbage:path=checksum", "truncated:path=archive"),
    *("cut:path=archive,count=2", "drip:path=archive,bytes=20000,ms=5"),
]
"""All that there are, with each of their choices, and some of those that every answer may have."""
ALIKE = (
    *(f"archive-rows:kind={kind}" for kind in ("repeated", "bad-price", "more-columns", "header", "torn")),
    *(f"archive-zip:kind={kind}" for kind in ("two", "none", "name")),
    *(f"archive-checksum:kind={kind}" for kind in ("missing", "malformed", "name")),
    *("archive-listing:kind=empty", "503:path=archive", "garbage:path=checksum", "cut:path=archive"),
    *(f"archive-rows:kind={kind}" for kind in ("skipped", "zero-quantity", "fewer-columns", "mixed-units")),
    *("archive-zip:kind=path", "archive-listing:kind=loop", "archive-missing:listed", "503:path=listing"),
    *("truncated:path=archive", "drip:path=archive"),
    *("500:after=2", "502", "504", "451", "truncated", "disordered", "shifted:by=-1", "reversed", "open-candle"),
    *("torn:side=last", "slow", "drip", "cut:after=8", "skew:seconds=60", "stall"),
)
"""Much like others: the long run alone has them."""


@pytest.fixture(scope="module")
def exchange() -> Iterator[rig.Exchange]:
    with rig.exchange("--trades", "16", "--no-limits") as found:
        yield found


@pytest.fixture(scope="module")
def manager(exchange: rig.Exchange, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Manager]:
    data = tmp_path_factory.mktemp("matrix") / "data"
    settings = {"STREAMFORGE_ARCHIVE_URL": exchange.url, "STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE": "100000"}
    with rig.manager(data, exchange.url, **settings) as found:
        yield found


def assert_complete_or_told(exchange: rig.Exchange, manager: rig.Manager, queue_id: str) -> rig.Json:
    """The workflow has ended, and `assert_right` holds."""
    workflow = manager.wait(queue_id)
    assert_right(workflow, manager.coverage(queue_id), *_stored_and_right(exchange, manager, workflow))
    return workflow


def test_every_fault_has_a_case() -> None:
    elsewhere = {name for name, kind in FAULTS.items() if kind.of_archive or kind.of_streams}
    assert REST.keys() | WAITED_FOR | OF_LIVE | elsewhere == FAULTS.keys()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param(fault, reason, marks=pytest.mark.long if fault.startswith(ALIKE) else ())
        for fault, reason in ((f"{name}:{options}", why) for name in REST for options, why in REST[name].items())
    ],
)
def test_trades_over_rest_are_complete_or_told(
    fault: str, reason: str, quiet: rig.Exchange, manager: rig.Manager
) -> None:
    types = ("api_trades", "api_agg_trades")[fault.startswith(("floor", "torn")) :]
    quiet.switch_on(fault)
    for queue_id in [manager.start_load("BTCUSDT", one, TWO_HOURS, source="rest")["queue_id"] for one in types]:
        workflow = assert_complete_or_told(quiet, manager, queue_id)
        assert workflow["status"] == ("error" if reason else "finished"), manager.story(queue_id)
        assert reason in (workflow["failure"] or {"reason": ""})["reason"]
        manager.api.delete(f"/queues/{queue_id}", params={"data": "true"}).raise_for_status()
    assert quiet.struck(fault)


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(number, id=fault, marks=pytest.mark.long if fault.startswith(ALIKE) else ())
        for number, fault in enumerate(ARCHIVE)
    ],
)
def test_records_of_the_archive_are_complete_or_told(number: int, quiet: rig.Exchange, manager: rig.Manager) -> None:
    day = date(2024, 3, 1) + timedelta(days=2 * number)  # what is cached of a file strikes no other case
    fault = ARCHIVE[number] if "listing" in ARCHIVE[number] else f"{ARCHIVE[number]},day={day}".replace(":,", ":")
    span = f"{day}T10:00:00Z:{day + timedelta(days=1)}T00:10:00Z"
    quiet.switch_on(fault)
    started = [manager.start_load("BTCUSDT", one, span)["queue_id"] for one in ("api_trades", "api_agg_trades")]
    alone = manager.start_load("BTCUSDT", "api_candles_1m", span, source="archive")["queue_id"]
    for queue_id in (*started, alone):
        workflow = assert_complete_or_told(quiet, manager, queue_id)
        assert workflow["status"] == "finished" or queue_id == alone, manager.story(queue_id)
    assert quiet.struck(fault)


def test_where_a_file_contradicts_what_requests_give_behind_it_the_records_are_loaded_again(
    quiet: rig.Exchange, manager: rig.Manager
) -> None:
    quiet.switch_on("archive-rows:kind=torn,day=2023-08-31")
    quiet.switch_on("archive-missing:file=*-2023-09*")
    workflow = manager.start_load("BTCUSDT", "api_agg_trades", "2023-08-31T10:00Z:2023-09-01T00:10Z")
    workflow = assert_complete_or_told(quiet, manager, workflow["queue_id"])
    assert [part["source"] for part in workflow["parts"]] == ["archive", "rest"]
    assert (workflow["status"], workflow["repairs"]) == ("finished", 1)


@pytest.mark.parametrize("samples", ["some", "all"])
def test_one_altered_row_of_a_file_with_a_right_checksum_is_noticed_where_all_files_are_compared(
    samples: str, quiet: rig.Exchange, tmp_path: Path
) -> None:
    """By default it is so by chance: see docs/decisions/archive-files.md. A day of minutes is compared whole."""
    settings = {"STREAMFORGE_ARCHIVE_URL": quiet.url, "STREAMFORGE_ARCHIVE_SAMPLES": samples}
    quiet.switch_on("archive-rows:kind=altered,day=2023-09-05")
    with rig.manager(tmp_path / "data", quiet.url, **settings) as manager:
        workflow = manager.loaded("BTCUSDT", "api_candles_1m", "2023-09-01:2023-09-08")
        stored, right = _stored_and_right(quiet, manager, workflow)
        theirs = {one.open_time: one for one in right}
        wrong = [one.open_time for one in stored if one != theirs[one.open_time]]
        by_rest = [part["start"][:10] for part in workflow["parts"] if "archive-differs" in part["reason"]]
    noon = parse_time_range("2023-09-05T12:00Z:2023-09-06").start_ms
    assert len(stored) == 7 * 1440
    assert (wrong, by_rest) == {"some": ([noon], []), "all": ([], ["2023-09-05"])}[samples]


def _stored_and_right(exchange: rig.Exchange, manager: rig.Manager, workflow: rig.Json) -> tuple[list[Any], list[Any]]:
    """What is stored in the collection of a workflow, and what the exchange has of its range and beside it."""
    path, query = oracle_query(workflow)
    oracle = httpx.get(exchange.url + path, params=query, timeout=LIMIT_S).raise_for_status().content
    records = f"/collections/{workflow['collection']}/records"
    answer = manager.api.get(records, params={"limit": "all", "format": "jsonl"})
    assert answer.status_code in (200, 404)  # nothing was stored at all
    decode = msgspec.json.Decoder(kind_of_type(workflow["type"]).stored).decode_lines
    return decode(answer.content) if answer.is_success else [], records_of(workflow, oracle)
