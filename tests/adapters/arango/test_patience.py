"""How long trouble is borne: growing pauses, drawn so that many clients do not come back at once, and then an end."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator

import pytest

from streamforge_utils.adapters.arango.arango_store import ArangoStore
from streamforge_utils.adapters.arango.arango_transport import Retries
from streamforge_utils.adapters.arango.connection import Connection
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.model.secret import Secret
from tests.adapters.arango.conftest import DATABASE, PASSWORD
from tests.doubles.arangodb.double import ArangoDouble
from tests.doubles.arangodb.misbehaviour import Fault
from tests.doubles.manualclock import ManualClock
from tests.doubles.observer import RecordingObserver


class PassingClock(ManualClock):
    """Who sleeps makes the time pass; `slept` says how much each time."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)


async def pauses(double: ArangoDouble, retries: Retries, **how: Callable[[], float]) -> tuple[list[float], str]:
    """The waits of a call to a server that is never available, and what is said in the end."""
    clock = PassingClock()
    connection = Connection(url=double.url, database=DATABASE, user="root", password=Secret(PASSWORD))
    store = ArangoStore(connection, clock=clock, observer=RecordingObserver(), retries=retries, **how)
    double.misbehaviour.add(Fault(kind="maintenance", path="_api/document"))
    try:
        with pytest.raises(RetryableError) as error:
            await store.get("workflow", "any")
    finally:
        double.misbehaviour.clear()
        await store.close()
    return clock.slept, str(error.value)


one_version = pytest.mark.parametrize("version", ["3.12.10"], indirect=True)
WHOLE = [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]


@one_version
@pytest.mark.parametrize("draw", [0.0, 0.25, 1.0])
async def test_pauses_double_up_to_a_limit_and_are_drawn_from_their_upper_half(
    draw: float, double: ArangoDouble
) -> None:
    slept, said = await pauses(double, Retries(attempts=9, within_s=1000), jitter=lambda: draw)
    assert slept == pytest.approx([(0.5 + draw / 2) * pause for pause in WHOLE])
    assert "given up after 9 tries: HTTP 503" in said


@one_version
async def test_each_pause_is_drawn_anew(double: ArangoDouble) -> None:
    draws: Iterator[float] = iter([1.0, 0.0, 0.5])
    slept, _ = await pauses(double, Retries(attempts=4), jitter=lambda: next(draws))
    assert slept == pytest.approx([0.1, 0.1, 0.3])
    two = [(await pauses(double, Retries(attempts=4)))[0] for _ in range(2)]
    assert two[0] != two[1], "and by chance, where nobody says how"


@one_version
async def test_no_other_try_is_made_once_the_time_is_over(double: ArangoDouble) -> None:
    slept, said = await pauses(double, Retries(attempts=100, within_s=3), jitter=lambda: 1.0)
    assert slept == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6])
    assert "given up after 6 tries" in said


async def test_a_port_that_takes_connections_and_says_nothing_is_told_by_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        store = ArangoStore(Connection(url=url, database=DATABASE), retries=Retries(answer_s=0.3))
        try:
            with pytest.raises(
                RetryableError, match=re.escape(f"{url}: ask for its version: given up after 1 try")
            ) as error:
                await store.connect()
        finally:
            await store.close()
        assert "no answer within 0.3 s; look at ARANGO_URL: is that ArangoDB's port" in str(error.value)


@one_version
async def test_a_server_that_was_met_and_falls_silent_is_not_blamed_on_its_setting(double: ArangoDouble) -> None:
    connection = Connection(url=double.url, database=DATABASE, user="root", password=Secret(PASSWORD))
    store = ArangoStore(connection, retries=Retries(answer_s=0.3, attempts=2))
    try:
        await store.connect()
        double.misbehaviour.add(Fault(kind="slow", seconds=1))
        with pytest.raises(RetryableError, match=r"given up after 2 tries: no answer within 0\.3 s$"):
            await store.get("workflow", "any")
    finally:
        await store.close()
