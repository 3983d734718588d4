"""The way to an S3 server that is asked one request at a time.

S3 looks at the condition of a put and does it in one step. versitygw v1.8.0 does it in two (mended since), and
keeps metadata beside the content in the tests: of requests that come at once two may meet the same condition.
"""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from tests.limits import LIMIT_S


class OneAtATime:
    """Listens on a port of its own, and passes on whole requests and answers."""

    def __init__(self, port: int) -> None:
        asking = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline()
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with asking:
                    server = http.client.HTTPConnection("127.0.0.1", port, timeout=LIMIT_S)
                    # The headers as they are: they are signed.
                    server.request(self.command, self.path, body or None, dict(self.headers.items()))
                    answer = server.getresponse()
                    content = answer.read()
                    server.close()
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(name, value)
                self.send_header("Content-Length", answer.getheader("Content-Length") or str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="one at a time")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> OneAtATime:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(LIMIT_S)
