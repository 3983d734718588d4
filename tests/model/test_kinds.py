"""The kinds of records there are, those that plugins add, and pages of their records."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from streamforge_utils.model.completeness import Grid, Rule
from streamforge_utils.model.errors import ConfigError, InvalidInput, PermanentError
from streamforge_utils.model.kinds import registry
from streamforge_utils.model.kinds.candles import KIND as CANDLES
from streamforge_utils.model.kinds.kind import Record, RecordKind, keys_of_series
from streamforge_utils.model.kinds.paging import ById, ByTime, Question, SentRequest, page_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.plugins import PLUGINS, load_plugins, plugin_environment, plugin_modules, unload_plugins
from tests.doubles import ticks
from tests.doubles.ticks import message, registered
from tests.places import ROOT

PLUGIN = """
from tests.doubles.ticks import StoredTick, Tick, Ticks

class Trades(Ticks):
    name = "plugged"

KIND = Trades()
"""


def test_the_kinds_of_the_package_are_found_by_themselves() -> None:
    assert [kind.name for kind in registry.kinds()] == [
        "agg_trades",
        "candles",
        "depth",
        "depth_checkpoint",
        "depth_interval",
        "depth_top",
        "trades",
    ]
    for kind in registry.kinds():
        registry.register(kind)  # none contradicts itself
    assert registry.kind_named("candles") is CANDLES
    assert registry.kind_of_type("api_candles_1mo") is CANDLES
    assert registry.type_of(Series("BTCUSDT", "candles", "1M")) == "api_candles_1M"
    assert registry.daily_series("BTCUSDT") == Series("BTCUSDT", "candles", "1d")


def test_every_kind_of_the_package_is_kept_from_being_imported() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    kept = next(one["protected_modules"] for one in contracts if one["id"] == "kinds")
    names = {module.rpartition(".")[2] for module in kept}
    assert names == {kind.name for kind in registry.kinds()}, "a kind's module is called as the kind is"


def test_a_registered_kind_is_known_by_its_types_and_keys() -> None:
    with pytest.raises(InvalidInput):
        registry.kind_of_type("api_ticks")
    with registered():
        assert registry.series_of("BTCUSDT", "api_ticks") == ticks.SERIES
        tick = b'{"symbol":"BTCUSDT","tick_id":42,"timestamp":1000,"price":1.5}'
        assert registry.kind_of_document("BTCUSDT_000000000042", tick) is ticks.KIND
        assert registry.kind_of_document("BTCUSDT_1m_1722470400000", tick) is None
        assert registry.kind_of_document("BTCUSDT_000000000042", tick.replace(b"tick_id", b"trade_id")) is None
        assert registry.kind_of_collection("btcusdt_api_ticks_2024_08_01") is ticks.KIND
        assert registry.kind_of_collection("btcusdt_api_candles_1mo_2024_08_01") is CANDLES
        assert registry.kind_of_collection("notes") is None
        assert registry.kind_of_fields({"symbol", "tick_id", "timestamp", "price"}) is ticks.KIND
        with pytest.raises(InvalidInput, match="did you mean api_ticks"):
            registry.kind_of_type("api_tick")
        assert not registry.is_type("ws_ticks")
        assert ticks.KIND.is_endless("ws_ticks")
    with pytest.raises(ConfigError, match="STREAMFORGE_PLUGINS"):
        registry.kind_named("ticks")


class OnTime(ticks.Ticks):
    """By a grid of minutes, whose positions are times."""

    def rule(self, series: Series) -> Rule:
        return Grid(60_000)


@pytest.mark.parametrize(
    ("base", "change", "says"),
    [
        (
            ticks.Ticks,
            {"position": "trade_id"},
            "`position` names 'trade_id', which `StoredTick` lacks: symbol,",
        ),
        (ticks.Ticks, {"time": "when"}, "`time` names 'when'"),
        (ticks.Ticks, {"times": ("timestamp", "tiem")}, "`times` names 'tiem'"),
        (ticks.Ticks, {"indexes": (("timestamp", "size"),)}, "`indexes` names 'size'"),
        (ticks.Ticks, {"name": "My Ticks"}, "rename it"),
        (OnTime, {}, "its rule is one of time, and its position is 'tick_id', not its time 'timestamp'"),
        (OnTime, {"position": "timestamp"}, "its positions are times, of 13 digits: `digits` is 12"),
    ],
)
def test_a_kind_that_contradicts_itself_is_refused(
    base: type[ticks.Ticks], change: dict[str, object], says: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        registry.register(type("Wrong", (base,), {"name": "wrong", **change})())


def test_two_kinds_of_one_name_are_refused() -> None:
    with registered(), pytest.raises(ConfigError, match="two kinds of records are called ticks"):
        registry.register(ticks.Ticks())


def test_a_kind_says_how_its_records_become_documents() -> None:
    value = message(42, 1000)
    key, version, body = ticks.KIND.document(b"BTCUSDT_000000000042", value)
    assert (key, version) == ("BTCUSDT_000000000042", 1)
    assert body == b'{"symbol":"BTCUSDT","tick_id":42,"timestamp":1000,"price":1.5}'
    assert ticks.KIND.time_of(body) == 1000
    with registered():
        assert registry.series_of_document(key, body) == ticks.SERIES
        assert registry.as_exported(key, b'{"price":2,"symbol":"B","timestamp":1,"tick_id":3}') == (
            b'{"symbol":"B","tick_id":3,"timestamp":1,"price":2.0}'
        )
    assert ticks.KIND.records([b"k"], [value]) is None


MINUTES, AGGREGATES = "api_candles_1m", "api_agg_trades"


def made(type_name: str, numbers: range) -> tuple[list[bytes | None], list[bytes]]:
    series = registry.series_of("BTCUSDT", type_name)
    kind = registry.kind_of(series)
    first, step = (1_722_470_400_000, 60_000) if type_name == MINUTES else (7, 1)
    records = [kind.imitation(series, first + step * number) for number in numbers]
    return [record.key.encode() for record in records], [msgspec.json.encode(record) for record in records]


@pytest.mark.parametrize("type_name", [MINUTES, "api_trades", AGGREGATES, "ticks"])
def test_many_records_become_at_once_what_each_becomes_alone(type_name: str) -> None:
    kind: RecordKind = ticks.KIND
    keys, values = [b"BTCUSDT_000000000042", b"BTCUSDT_000000000043"], [message(42, 1000), message(43, 1000)]
    if type_name != "ticks":
        kind = registry.kind_of(registry.series_of("BTCUSDT", type_name))
        keys, values = made(type_name, range(3))  # type: ignore[assignment]
    records = kind.records(keys, values)
    assert records is not None
    for _ in range(2):  # their identities are still there afterwards
        found = [*zip([r.key for r in records], [r.version for r in records], kind.bodies(records), strict=True)]
        assert found == [kind.document(*one) for one in zip(keys, values, strict=True)]
    assert kind.records(keys, [*values[:-1], values[0]]) is None
    assert kind.records([*keys[:-1], keys[0]], values) is None
    assert kind.records([], []) is None


class Defaulted(ticks.StoredTick, frozen=True, kw_only=True):
    note: str = "none"


class Noted(ticks.Ticks):
    stored = Defaulted


class Marked(ticks.Ticks):
    def document(self, key: bytes | None, value: bytes) -> tuple[str, int, bytes]:
        return super().document(key, value.upper())


@pytest.mark.parametrize("kind", [Noted(), Marked()])
def test_what_the_fast_way_would_write_otherwise_goes_one_by_one(kind: RecordKind) -> None:
    assert kind.records([b"BTCUSDT_000000000042"], [message(42, 1000)]) is None


@pytest.mark.parametrize("numbers", [[0], [7, 8], [99, 100], [-5, 3], [10**12, 10**12 + 1], [3_735_683_259]])
def test_keys_of_a_series_are_those_of_each_position(numbers: list[int]) -> None:
    assert keys_of_series("B,C_", numbers, 12) == [f"B,C_{number:012}" for number in numbers]


@pytest.mark.parametrize(
    ("type_name", "change"),
    [
        ("api_trades", (b'"price":"61858.01000000"', b'"price":"0"')),
        ("api_trades", (b'"quantity":"0.00138000"', b'"quantity":"0"')),
        ("api_trades", (b'"timestamp":1', b'"timestamp":')),
        ("api_trades", (b'"timestamp":1', b'"timestamp":10')),
        ("api_trades", (b'"symbol":"BTC', b'"symbol":"ETH')),
        (AGGREGATES, (b'"last_trade_id":1', b'"last_trade_id":')),
    ],
)
def test_a_bad_record_among_many_has_each_looked_at_alone(type_name: str, change: tuple[bytes, bytes]) -> None:
    kind = registry.kind_of(registry.series_of("BTCUSDT", type_name))
    keys, values = made(type_name, range(3))
    assert change[0] in values[1]
    values[1] = values[1].replace(*change)
    assert kind.records(keys, values) is None
    with pytest.raises(PermanentError):
        kind.document(keys[1], values[1])


@pytest.mark.parametrize(
    ("key", "change", "says"),
    [
        (b"other", (b"", b""), "the message's key"),
        (None, (b"_000000000042", b"_000000000043"), "its identity says"),
        (None, (b'"price":"1.5"', b'"price":"nan"'), "price"),
        (None, (b'"price":"1.5"', b'"price":"-1"'), "price"),
        (None, (b'"timestamp":1000,', b""), "timestamp"),
        (None, (b"{", b"["), "not a record of ticks"),
    ],
)
def test_a_record_that_is_none_is_refused(key: bytes | None, change: tuple[bytes, bytes], says: str) -> None:
    with pytest.raises(PermanentError, match=says):
        ticks.KIND.document(key, message(42, 1000).replace(*change))


def test_positions_of_other_series_between_the_keys_are_left_out() -> None:
    keys = ["BTCUSDT_000000000001", "BTCUSDT_1m_1722470400000", "BTCUSDT_x00000000001"]
    assert ticks.KIND.positions(ticks.SERIES, keys) == [1]
    assert CANDLES.positions(Series("BTCUSDT", "candles", "1m"), keys[1:2]) == [1722470400000]


def test_plugins_are_loaded_once_and_passed_on(tmp_path: Path) -> None:
    file = tmp_path / "plugged_trades.py"
    file.write_text(PLUGIN)
    try:
        load_plugins({PLUGINS: str(tmp_path)})
        load_plugins({PLUGINS: f"{file},"})
        assert registry.kind_of_type("api_plugged").name == "plugged"
        assert [module.__name__ for module in plugin_modules()] == ["plugged_trades"]
        assert plugin_environment() == {PLUGINS: str(file)}
    finally:
        unload_plugins()
    assert not registry.is_type("api_plugged")
    assert plugin_environment() == {}


def asked(question: Question, limit: int) -> SentRequest:
    series = Series("BTCUSDT", "trades")
    return SentRequest(
        series=series, question=question, sent=question, limit=limit, observed_ms=10_000, local_ms=10_000
    )


@pytest.mark.parametrize(
    ("question", "limit", "positions", "dropped"),
    [
        (ById(3), 10, [3, 4, 5, 6], {"repeated": 1, "unasked": 2}),
        (ById(3), 2, [3, 4], {"repeated": 1, "unasked": 2}),
        (ByTime(TimeRange(200, 600)), 10, [2, 3, 4, 5], {"repeated": 1, "unasked": 2}),
        (ByTime(TimeRange(200, 600), newest=True), 2, [4, 5], {"repeated": 1, "unasked": 2}),
        (ByTime(TimeRange(900, 999)), 2, [], {"unasked": 7}),
    ],
)
def test_what_was_asked_for_is_taken_once_in_order(
    question: Question, limit: int, positions: list[int], dropped: dict[str, int]
) -> None:
    rows = [(n, n * 100, Record(key=f"BTCUSDT_{n}", version=1)) for n in (5, 1, 2, 6, 3, 4, 4)]
    page = page_of(rows, asked(question, limit))
    assert page.positions == positions
    assert page.times == [n * 100 for n in positions]
    assert page.keys == [f"BTCUSDT_{n}".encode() for n in positions]
    assert [msgspec.json.decode(value)["_key"] for value in page.values] == [f"BTCUSDT_{n}" for n in positions]
    assert page.dropped == dropped


def test_a_question_for_all_that_there_is_names_its_end_alone() -> None:
    assert str(ByTime(TimeRange(0, 86_400_000))) == "up to 1970-01-02"
    assert str(ByTime(TimeRange(1000, 86_400_000))) == "1970-01-01T00:00:01Z:1970-01-02"
