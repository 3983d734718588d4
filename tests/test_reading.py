"""Stored series for notebooks: what an error tells, and that it tells no more."""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from streamforge_utils.reading import ReadingError, read_series

PROBLEM = {"type": "urn:streamforge:problem:incomplete", "detail": "c holds fewer records than were proven: 1 lacks"}


class _Incomplete(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps(PROBLEM).encode()
        self.send_response(409)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def incomplete_url() -> Iterator[str]:
    """A server whose store holds less than was proven."""
    with HTTPServer(("127.0.0.1", 0), _Incomplete) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def told(url: str) -> str:
    """What a notebook shows of the failure."""
    with pytest.raises(ReadingError) as failed:
        read_series("BTCUSDT", "api_candles_1m", "2024-08-01", url=url)
    return "".join(traceback.format_exception(failed.value))


def test_a_manager_that_is_not_there_is_one_short_error() -> None:
    text = told("http://127.0.0.1:9")
    assert "Connection refused: does queue-manager run there? STREAMFORGE_URL says where" in text
    assert text.count("Traceback") == 1
    assert "During handling" not in text
    assert "urllib" not in text


def test_a_store_that_holds_less_is_told_with_what_to_do(incomplete_url: str) -> None:
    text = told(incomplete_url)
    assert "409 c holds fewer records than were proven: 1 lacks: count what is there with `streamforge coverage" in text
    assert text.count("Traceback") == 1
