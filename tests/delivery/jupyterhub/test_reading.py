"""Series read from a running queue-manager: every candle once, holes with verdicts, errors that say what to do."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import ClassVar

import pytest

from streamforge_utils import reading
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.kinds.candles import KIND
from streamforge_utils.reading import ReadingError, read_series
from tests.cli.support import MINUTE_MS, START_MS, TYPE
from tests.delivery.jupyterhub.serving import Served

DAY = "2024-08-01"


def test_a_day_is_read_as_the_exchange_has_it(served: Served) -> None:
    found = read_series("btcusdt", TYPE, DAY, url=served.url)
    assert (found.symbol, found.type, found.complete, found.holes) == ("BTCUSDT", TYPE, True, [])
    assert [candle.open_time for candle in found.candles] == [START_MS + n * MINUTE_MS for n in range(1440)]
    rows = served.oracle(START_MS, START_MS + 1440 * MINUTE_MS)
    columns = found.columns()
    assert list(columns) == list(KIND.columns)
    for place, name in enumerate(("open_time", "open", "high", "low", "close", "volume", "close_time")):
        assert columns[name] == [type(columns[name][0])(row[place]) for row in rows], name


def test_a_part_of_it_and_what_is_not_there(served: Served) -> None:
    found = read_series("BTCUSDT", TYPE, "2024-08-01T23:00Z:2024-08-02T01:00Z", url=served.url)
    assert len(found.candles) == 60
    (hole,) = found.holes
    assert (hole.start, hole.verdict) == ("2024-08-02T00:00:00Z", "unknown")
    assert not found.complete


def test_without_a_range_it_is_all_there_is(served: Served) -> None:
    assert len(read_series("BTCUSDT", TYPE, url=served.url).candles) == 1440


def test_the_url_comes_from_the_environment(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(reading.URL, served.url + "/")
    assert len(read_series("BTCUSDT", TYPE, DAY).candles) == 1440


def test_what_is_no_series_is_refused_before_anybody_is_asked() -> None:
    with pytest.raises(InvalidInput, match="time_range"):
        read_series("BTCUSDT", TYPE, "tomorrow", url="http://127.0.0.1:1")
    with pytest.raises(ReadingError, match="without a user"):
        read_series("BTCUSDT", TYPE, DAY, url="http://me:secret@127.0.0.1:1")


def test_nobody_there_is_said_with_what_to_do() -> None:
    with pytest.raises(ReadingError, match=r"does queue-manager run there\? STREAMFORGE_URL says where"):
        read_series("BTCUSDT", TYPE, DAY, url="http://127.0.0.1:1")


class _Handler(http.server.BaseHTTPRequestHandler):
    """Plays a queue-manager that goes wrong; asked: the tokens that came."""

    asked: ClassVar[list[str | None]] = []
    status, coverage, records = 200, b"", b""

    def do_GET(self) -> None:
        type(self).asked.append(self.headers.get("Authorization"))
        self.send_response(self.status)
        body = self.coverage if self.path.startswith("/coverage") else self.records
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def wrong() -> Iterator[tuple[type[_Handler], str]]:
    handler = type("Handler", (_Handler,), {"asked": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield handler, f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join(5)


COVERAGE = (
    b'{"symbol":"BTCUSDT","type":"api_candles_1m","complete":true,"segments":[{"start":"2024-08-01T00:00:00Z",'
    b'"end":"2024-08-02T00:00:00Z","start_ms":1722470400000,"end_ms":1722556800000,"verdict":"stored",'
    b'"collection":"btcusdt_api_candles_1m_2024_08_01","records":1440}]}'
)


def test_fewer_candles_than_were_proven_are_an_error(wrong: tuple[type[_Handler], str]) -> None:
    handler, url = wrong
    handler.coverage = COVERAGE
    with pytest.raises(ReadingError, match=r"holds 0 candles .* has proven 1440: count what is there"):
        read_series("BTCUSDT", TYPE, DAY, url=url)


def test_the_token_goes_along_and_a_refusal_is_told_in_the_servers_words(
    wrong: tuple[type[_Handler], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, url = wrong
    handler.status, handler.coverage = 401, b'{"title":"Unauthorized","detail":"send a token"}'
    monkeypatch.setenv(reading.TOKEN, "a-readers-token")
    with pytest.raises(ReadingError, match="401 send a token") as refused:
        read_series("BTCUSDT", TYPE, DAY, url=url)
    assert handler.asked == ["Bearer a-readers-token"]
    assert "a-readers-token" not in str(refused.value)


def test_an_answer_of_somebody_else_is_seen(wrong: tuple[type[_Handler], str]) -> None:
    handler, url = wrong
    handler.coverage = b"<html>hello</html>"
    with pytest.raises(ReadingError, match="something else than queue-manager"):
        read_series("BTCUSDT", TYPE, DAY, url=url)
