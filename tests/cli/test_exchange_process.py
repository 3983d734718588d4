"""The test exchange of a command: at the port of the one before, or at another one."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from streamforge.cli import exchange_process
from streamforge.cli.command_errors import CliError
from streamforge.cli.exchange_process import PORT_FILE, running_exchange

pytestmark = pytest.mark.e2e


async def test_a_port_that_another_program_takes_once_it_was_looked_at_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(exchange_process, "_port_before", lambda _: port)
        async with running_exchange(data=tmp_path) as found:
            other = urlsplit(found.url).port
    assert other != port
    assert (tmp_path / PORT_FILE).read_text() == f"{other}\n"


async def test_one_that_cannot_start_for_another_reason_is_not_started_again(tmp_path: Path) -> None:
    with pytest.raises(CliError, match=r"the test exchange did not start: .*--no-such-option"):
        async with running_exchange(("--no-such-option",), data=tmp_path):
            pass
