"""What `doctor` says of the exchange's streams, and that it costs one connection."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from streamforge.cli.checks.place_checks import Subject
from streamforge.cli.checks.stream_check import check_streams
from streamforge.cli.session import Where
from streamforge_utils.ports.provisioning import Finding
from tests.e2e import rig
from tests.limits import LIMIT_S

pytestmark = pytest.mark.e2e

URL, CA = "STREAMFORGE_STREAM_URL", "STREAMFORGE_STREAM_CA_PATH"
NOBODY = "ws://127.0.0.1:1"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def exchange(tls: Path) -> Iterator[rig.Exchange]:
    with rig.exchange("--tls", str(tls)) as found:
        yield found


def told(exchange: str, folder: Path) -> Finding:
    async def run() -> list[Finding]:
        return [one async for one in check_streams(Subject(Where(exchange=exchange), folder, folder))]

    (found,) = asyncio.run(run())
    assert found.part == "streams"
    return found


def test_one_connection_is_made_and_ended(exchange: rig.Exchange, tmp_path: Path) -> None:
    before = exchange.stats()["streams"]
    found = told(exchange.url, tmp_path)
    assert found.verdict == "works"
    assert found.detail.startswith(f"those of {exchange.url}: a connection was made, and a stream acknowledged, in ")
    rig.eventually(lambda: True if not exchange.stats()["streams"]["open"] else None, "it is ended")
    after = exchange.stats()["streams"]
    assert after["connects"] - before["connects"] == 1


def test_an_address_with_tls_works_with_its_ca(
    exchange: rig.Exchange, tls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert exchange.tls_url is not None
    monkeypatch.setenv(URL, exchange.tls_url.replace("https", "wss"))
    monkeypatch.setenv(CA, str(tls / "ca.pem"))
    assert told(exchange.url, tmp_path).verdict == "works"
    monkeypatch.delenv(CA)
    found = told(exchange.url, tmp_path)
    assert found.verdict == "fails"
    assert "is not trusted" in found.detail
    assert f"name the PEM file of the CA that signed it in {CA}" in found.detail
    monkeypatch.setenv(CA, str(tmp_path / "none.pem"))
    found = told(exchange.url, tmp_path)
    assert found.verdict == "fails"
    assert f"{CA}: the file {tmp_path / 'none.pem'} cannot be read" in found.detail


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (NOBODY, f"no connection to {NOBODY}: Connection refused"),
        ("http://127.0.0.1:1", f"{URL}: http://127.0.0.1:1 is not like wss://host[:port][/ws]"),
        ("ws://ann:hush@127.0.0.1:1", f"{URL}: ws://127.0.0.1:1 is not like wss://host[:port][/ws], without a user"),
        ("REFUSES", f"refuses the connection (HTTP 404): check {URL}"),
    ],
)
def test_a_wrong_address_fails_and_names_the_setting(
    exchange: rig.Exchange, url: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL, f"{exchange.url.replace('http', 'ws')}/none" if url == "REFUSES" else url)
    found = told(exchange.url, tmp_path)
    assert found.verdict == "fails"
    assert words in found.detail
    assert URL in f"{found.detail} {found.next_step}"


@contextmanager
def proxy(answer: str) -> Iterator[str]:
    """The address of a proxy that answers one request with this status, and passes nothing on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:

        def refuse() -> None:
            asking, _ = listening.accept()
            with asking:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += asking.recv(65536)
                asking.sendall(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n".encode())

        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}"
        thread.join(LIMIT_S)


@pytest.mark.parametrize(
    ("answer", "told_of_it", "next_step"),
    [
        (
            "407 No",
            "is a proxy that wants a user and a password (HTTP 407), and none are sent to it: let it pass this "
            f"machine without them, or name another way in {URL}",
            "",
        ),
        (
            "502 No",
            "refuses connections for now (HTTP 502): a proxy there gets no answer of the streams",
            f"is there a way there from here? {URL} names another one",
        ),
        *(
            (
                f"{status} No",
                f"refuses connections for now (HTTP {status})",
                "it is reached, and takes no connection now: try again in a few minutes",
            )
            for status in (429, 500, 503)
        ),
    ],
)
def test_a_proxy_that_refuses_is_named_with_what_to_do(
    answer: str,
    told_of_it: str,
    next_step: str,
    exchange: rig.Exchange,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without_proxies(monkeypatch)
    with proxy(answer) as url:
        monkeypatch.setenv(URL, url)
        found = told(exchange.url, tmp_path)
    assert (found.verdict, found.detail, found.next_step) == ("fails", f"{url} {told_of_it}", next_step)


@pytest.mark.parametrize(
    ("variable", "scheme"),
    [("HTTPS_PROXY", "http://"), ("https_proxy", ""), ("ALL_PROXY", "http://"), ("http_proxy", "")],
)
def test_where_nobody_is_reached_the_proxy_of_the_environment_is_named_without_its_password(
    variable: str, scheme: str, exchange: rig.Exchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_proxies(monkeypatch)
    monkeypatch.setenv(URL, NOBODY)
    monkeypatch.setenv(variable, f"{scheme}ann:hush@proxy.example:3128")
    found = told(exchange.url, tmp_path)
    assert (found.verdict, found.detail) == ("fails", f"no connection to {NOBODY}: Connection refused")
    assert found.next_step == (
        "the proxy of the environment (http://proxy.example:3128) is not used, and may be the only way out: let it, "
        f"or a forwarder of TCP that knows it, listen for the streams, and name that address in {URL}"
    )


def test_an_address_without_a_need_of_the_proxy_is_told_nothing_of_it(
    exchange: rig.Exchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_proxies(monkeypatch)
    monkeypatch.setenv(URL, NOBODY)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "example.org,127.0.0.1")
    assert told(exchange.url, tmp_path).next_step == f"is there a way there from here? {URL} names another one"


def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http", "https", "all", "no"):
        for variable in (f"{name}_proxy", f"{name}_proxy".upper()):
            monkeypatch.delenv(variable, raising=False)


def test_from_outside_of_the_pods_it_is_no_failure(
    exchange: rig.Exchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL, NOBODY)
    monkeypatch.setenv("STREAMFORGE_LAUNCHER", "kubernetes")
    found = told(exchange.url, tmp_path)
    assert found.verdict == "careful"
    assert "loaders connect from their pods" in found.next_step


def test_a_server_of_ones_own_need_not_have_streams(tmp_path: Path) -> None:
    found = told("http://127.0.0.1:1", tmp_path)
    assert found.verdict == "careful"
    assert found.next_step == f"only live types (ws_…) need them: name them in {URL}"
