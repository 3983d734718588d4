"""Ctrl-C, managers that run and managers that go, as a person with two terminals meets them."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from aiohttp import web

from streamforge.cli.exchange_process import PORT_FILE
from tests.chaos.processes import of_data
from tests.cli import support
from tests.cli.support import (
    HOUR,
    TYPE,
    YEARS,
    Cli,
    Json,
    completed,
    finished,
    line,
    loading,
    manager,
    process,
    ready,
    until,
    workers_of,
)
from tests.engines.process import free_ports
from tests.limits import LIMIT_S

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_stops_the_workflow_in_order(
    tmp_path: Path, slow_url: str, number: signal.Signals, code: int
) -> None:
    data = tmp_path / "data"
    with loading(data, slow_url, "--json") as started:
        line(started, " of 2,103,840")
        started.send_signal(number)
        ran = finished(started)
    assert ran.code == code, ran.err
    assert ran.json["status"] == "interrupted"
    assert ran.json["records_stored"] < ran.json["records_expected"]
    queue_id = ran.json["queue_id"]
    assert "stopping in order; Ctrl-C again leaves at once" in ran.err
    assert f"{queue_id} was stopped (interrupted): go on with `streamforge retry {queue_id} --data {data}" in ran.err
    assert "Traceback" not in ran.err
    until(lambda: not of_data(data))


def test_a_workflow_that_still_asks_the_exchange_is_stopped_too(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with support.exchange("--fault", "stall:seconds=20,path=klines") as url, loading(data, url) as started:
        line(started, "the exchange has not answered yet: `streamforge doctor` tells whether it can be reached")
        started.send_signal(signal.SIGINT)
        ran = finished(started)
    assert ran.code == 130, ran.err
    assert " interrupted after " in ran.out


def test_the_second_leaves_at_once_and_the_next_manager_goes_on(
    tmp_path: Path, slow_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    with loading(data, slow_url) as started:
        until(lambda: len(workers_of(data)) >= 2)
        # Held, its workers cannot end: so the order to stop is still under way when the second one comes.
        workers = workers_of(data)
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGSTOP)
        try:
            started.send_signal(signal.SIGINT)
            line(started, "Ctrl-C again leaves at once")
            started.send_signal(signal.SIGINT)
            ran = finished(started)
            assert set(workers) <= set(workers_of(data)), "it did not wait for them, nor kill them"
        finally:
            for worker in workers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGCONT)
    assert ran.code == 130, ran.err
    assert "as it is: the next manager on its data continues it" in ran.err
    cli = Cli(capsys, data, slow_url)
    [queue] = cli("queues", "--json").ok().json["queues"]
    assert queue["status"] in ("stopping", "running")
    assert cli("stop", queue["queue_id"], "--json").ok().json == {
        "queue_id": queue["queue_id"],
        "status": "interrupted",
    }
    until(lambda: not of_data(data))


def test_a_manager_in_the_foreground_serves_every_other_command(
    tmp_path: Path, exchange_url: str, slow_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    cli = Cli(capsys, data)
    with manager(data, slow_url) as (started, served):
        assert (served["data"], served["exchange"], served["pid"]) == (str(data), [slow_url], started.pid)
        server = ("--server", served["url"])
        detached = cli("load", "BTCUSDT", TYPE, YEARS, "--detach").ok()
        queue_id = detached.out.strip()
        assert f"follow it with: streamforge events {queue_id} --follow --data {data}" in detached.err
        until(lambda: cli("show", queue_id, "--json").json["status"] == "running")
        until(lambda: all(s["status"] == "running" for s in cli("show", queue_id, "--json").json["steps"]))
        answers: Json = {}

        def answered() -> bool:
            began = time.monotonic()
            ran = cli("ping", queue_id, *server, "--json", where=False)
            took = time.monotonic() - began
            answers.update(ran.json["answers"])
            assert all(0 < seconds < took for seconds in answers.values() if seconds is not None)
            return ran.code == 0 and None not in answers.values()

        until(answered)
        assert len(answers) == 2
        until(lambda: cli("ping", queue_id).out.count(" ms") == 2)
        refused = cli("rm", queue_id, "--yes")
        assert refused.code == 1
        assert "only an ended workflow can be removed, stop it first with `streamforge stop" in refused.err
        assert cli("queues", *server, "--json", where=False).ok().json["queues"][0]["queue_id"] == queue_id
        with process("events", queue_id, "--follow", "--json", "--data", str(data)) as following:
            assert cli("stop", queue_id).ok().out == f"{queue_id} is interrupted\n"
            said = finished(following).ok()
        events = [json.loads(text)["event"]["event"] for text in said.out.splitlines()]
        assert events[0] == "started"
        assert events.count("interrupted") == 2
        assert said.err == f"{queue_id} is interrupted\n"
        assert cli("doctor", *server, where=False).code == 0
        wrong = cli("load", "BTCUSDT", TYPE, HOUR, "--launcher", "kubernetes")
        assert wrong.code == 2
        assert f"the manager at {served['url']} already runs on {data} and has its launcher" in wrong.err
        second = completed("up", "--data", str(data), "--port", "0", "--exchange", exchange_url)
        assert second.code == 2
        assert (
            f"another manager holds {data} and serves {served['url']}: use it with --server {served['url']}"
            in second.err
        )
        started.send_signal(signal.SIGINT)
        ended = finished(started)
        assert (ended.code, ended.out) == (0, "")
        assert "ending in order" in ended.err
    gone = cli("ping", queue_id, *server, where=False)
    assert gone.code == 1
    assert f"no server answers at {served['url']}" in gone.err


@pytest.mark.parametrize("named", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_load_whose_manager_goes_away_goes_on_with_its_own(tmp_path: Path, exchange_url: str, named: bool) -> None:
    """No --exchange: the manager that takes over has it from the environment, or it is the one of the data."""
    data, more = tmp_path / "data", {"STREAMFORGE_EXCHANGE_URL": exchange_url} if named else {}
    load = process("load", "BTCUSDT", TYPE, "2024-01", "--data", str(data), **more)
    with manager(data, exchange_url) as (started, _), load as loading_:
        line(loading_, "pending, ")
        started.kill()
        started.wait(LIMIT_S)
        ran = finished(loading_)
    assert ran.code == 0, ran.err
    assert "the manager that ran on this data has ended; going on with another" in ran.err
    assert "44,640 of 44,640 records stored, proven complete" in ran.out


def test_a_load_that_cannot_go_on_without_its_manager_says_how_to(tmp_path: Path, slow_url: str) -> None:
    data = tmp_path / "data"
    # A setting that only a manager reads.
    load = process("load", "BTCUSDT", TYPE, "2024-01", "--data", str(data), STREAMFORGE_MAX_RUNNING="many")
    with manager(data, slow_url) as (started, _), load as loading_:
        queue_id = line(loading_, "pending, ").partition(":")[0]
        started.kill()
        started.wait(LIMIT_S)
        ran = finished(loading_)
    assert ran.code == 2, ran.err
    [last] = [found for found in ran.err.splitlines() if found.startswith("streamforge: ")]
    assert last.startswith(f"streamforge: {queue_id} is left as it is, because its manager has ended and no other ")
    assert "STREAMFORGE_MAX_RUNNING" in last
    assert last.endswith(f"; then continue it with `streamforge wait {queue_id} --data {data}`")


def test_two_loads_on_one_folder_share_the_first_ones_manager(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with (
        support.exchange("--fault", "503:path=klines,symbol=BTCUSDT") as url,
        loading(data, url, what=("BTCUSDT", TYPE, "2024-08-01:2024-08-05")) as first,
    ):
        line(first, "running, ")
        with loading(data, url, "--json", what=("ETHUSDT", TYPE, HOUR)) as second:
            other = finished(second).ok()
        support.lift_faults(url)
        assert finished(first).ok().out.count("5,760 of 5,760") == 1
    assert other.json["records_stored"] == 60


def test_a_test_exchange_ends_with_its_owner_however_that_ends(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with manager(data, "test") as (started, served):
        [url] = served["exchange"]
        assert _answers(url)
        started.kill()
        started.wait(LIMIT_S)
        until(lambda: not _answers(url))


@pytest.mark.long
def test_workers_that_outlive_their_manager_find_the_test_exchange_of_the_next_one(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    [port] = free_ports(1)  # no other process is given it meanwhile
    (data / PORT_FILE).write_text(f"{port}\n")
    for _ in range(2):
        with manager(data, "test") as (started, served):
            assert served["exchange"] == [f"http://127.0.0.1:{port}"]
            started.kill()
            started.wait(LIMIT_S)
    until(lambda: not _answers(served["exchange"][0]))
    with socket.create_server(("127.0.0.1", port)), manager(data, "test") as (_, other):
        [url] = other["exchange"]
        assert (data / PORT_FILE).read_text() == f"{url.rpartition(':')[2]}\n" != f"{port}\n"


def test_a_manager_whose_test_exchange_was_killed_ends_and_says_so(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with manager(data, "test") as (started, served):
        [url] = served["exchange"]
        os.kill(_child_of(started.pid), signal.SIGKILL)
        ran = finished(started)
    assert ran.code == 1
    assert "the test exchange of this command has ended (killed by signal 9): run the command again" in ran.err
    assert "Traceback" not in ran.err
    assert "never retrieved" not in ran.err
    assert not _answers(url)


def _child_of(owner: int) -> int:
    """The process of a command's test exchange."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == owner and b"exchange_child" in (entry / "cmdline").read_bytes():
                    return int(entry.name)
    raise AssertionError(f"{owner} runs no test exchange")


def _answers(url: str) -> bool:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(f"{url}/api/v3/ping", timeout=LIMIT_S) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def test_the_test_exchange_serves_until_it_is_told_to_end() -> None:
    with process("exchange", "--seed", "3", "--json", "--hole", "BTCUSDT@2024-08-01:2024-08-02") as started:
        assert _answers(ready(started)["url"])
        started.send_signal(signal.SIGINT)
        assert finished(started).code == 0


def test_a_port_that_the_test_exchange_cannot_have_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli = Cli(capsys, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        in_use = cli("exchange", "--port", str(port), where=False)
    assert in_use.code == 2
    assert f"cannot listen on port {port} (it is in use): choose another with --port" in in_use.err

    # As of a port for which one has no right; which ports these are, and for whom, is the machine's business.
    async def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(web.TCPSite, "start", forbidden)
    refused = cli("exchange", "--port", "80", where=False)
    assert refused.code == 2
    assert "cannot listen on port 80" in refused.err
    assert "this user may not" in refused.err
