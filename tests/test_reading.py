"""Stored series for notebooks: an error names its cause, and nothing secret."""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from streamforge_utils import reading
from streamforge_utils.model.coverage import Moved
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.reading import ReadingError, read_series, read_unmoved

SERIES = ("BTCUSDT", "api_candles_1m", "2024-08-01")
PROBLEM = {"type": "urn:streamforge:problem:incomplete", "detail": "c holds fewer records than were proven: 1 lacks"}
SEGMENT = {
    "start": "2024-08-01T00:00:00Z",
    "end": "2024-08-02T00:00:00Z",
    "start_ms": 1722470400000,
    "end_ms": 1722556800000,
    "verdict": "stored",
    "collection": "btcusdt_api_candles_1m_2024_08_01",
    "records": 1440,
}
COVERAGE = {"symbol": "BTCUSDT", "type": "api_candles_1m", "complete": True, "segments": [SEGMENT]}


class _Server(HTTPServer):
    """A queue-manager that answers questions about coverage so, and has no records. asked: the tokens that came."""

    def __init__(self, status: int, answer: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.answer = status, answer
        self.asked: list[str | None] = []


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self.server.asked.append(self.headers.get("Authorization"))
        body = self.server.answer if self.path.startswith("/coverage") else b""
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(status: int, answer: bytes) -> Iterator[_Server]:
    with _Server(status, answer) as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.01,))
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def told(url: str) -> str:
    """What a notebook shows of the failure."""
    with pytest.raises(ReadingError) as failed:
        read_series(*SERIES, url=url)
    text = "".join(traceback.format_exception(failed.value))
    assert text.count("Traceback") == 1
    return text


@pytest.mark.parametrize(
    ("status", "answer", "words"),
    [
        (
            409,
            json.dumps(PROBLEM).encode(),
            "409 c holds fewer records than were proven: 1 lacks: count what is there with `streamforge coverage",
        ),
        (200, json.dumps(COVERAGE).encode(), "has proven 1440: count what is there"),
        (401, b'{"title":"Unauthorized","detail":"send a token"}', "401 send a token"),
        (200, b"<html>hello</html>", "something else than queue-manager"),
    ],
)
def test_a_wrong_answer_is_one_error_that_says_what_to_do_and_no_token(
    server: _Server, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(reading.TOKEN, "a-readers-token")
    text = told(f"http://127.0.0.1:{server.server_port}")
    assert words in text
    assert set(server.asked) == {"Bearer a-readers-token"}
    assert "a-readers-token" not in text


def test_a_manager_that_is_not_there_is_one_short_error() -> None:
    text = told("http://127.0.0.1:9")
    assert "Connection refused: does queue-manager run there? STREAMFORGE_URL says where" in text
    assert "During handling" not in text
    assert "urllib" not in text


def test_what_is_no_series_is_refused_before_anybody_is_asked() -> None:
    with pytest.raises(InvalidInput, match="time_range"):
        read_series("BTCUSDT", "api_candles_1m", "tomorrow", url="http://127.0.0.1:1")
    with pytest.raises(ReadingError, match="without a user"):
        read_series(*SERIES, url="http://me:secret@127.0.0.1:1")


def test_what_moves_each_time_is_read_three_times() -> None:
    tries: list[int] = []

    def attempt() -> None:
        tries.append(len(tries))
        raise Moved("BTCUSDT", "api_trades", TimeRange(0, 1000))

    with pytest.raises(Moved, match=r"stored of BTCUSDT api_trades 1970.* was removed or replaced while it was read"):
        read_unmoved(attempt)
    assert tries == [0, 1, 2]
