"""Converting many records at once gives what converting each alone gives, in this process and in another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.candles import KIND, Candles, encode_candle
from streamforge_utils.model.kinds.kind import Columns
from streamforge_utils.ports.columns import ReceivedColumns
from streamforge_utils.runtime.sink.conversion import PART_RECORDS, Converted, HelperProcess, convert
from streamforge_utils.runtime.sink.sinks import IDLE_S, Offloader
from streamforge_utils.runtime.telemetry.logs import make_log
from tests.doubles.candles import candle
from tests.limits import LIMIT_S

START, MINUTE = 1_722_470_400_000, 60_000
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
"""However busy the machine is."""

Record = tuple[bytes | None, bytes]


def good(number: int, **changes: str) -> Record:
    made = msgspec.structs.replace(candle(START + number * MINUTE, version=number), **changes)
    return made.key.encode(), encode_candle(made)


def each(records: Sequence[Record]) -> Converted:
    """What becomes of every record alone."""
    converted = Converted([], [], [], [])
    for at, (key, value) in enumerate(records):
        try:
            document = KIND.document(key, value)
        except PermanentError as error:
            converted.refused.append((at, str(error)))
        else:
            converted.add(Converted([document[0]], [document[1]], [document[2]], []), at)
    return converted


def plain(converted: Converted | None) -> Converted | None:
    """Without how it was made."""
    return None if converted is None else msgspec.structs.replace(converted, encoded=False)


def columns(records: Sequence[Record]) -> tuple[list[bytes | None], list[bytes]]:
    return [key for key, _ in records], [value for _, value in records]


def received(records: Sequence[Record]) -> ReceivedColumns:
    return ReceivedColumns("t", 0, range(len(records)), *columns(records), [0] * len(records))


numbers = st.one_of(
    st.decimals(0, 10**12, places=8, allow_nan=False).map(lambda number: f"{number:f}"),
    st.floats(0, allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(
        ["0", "0.00000000", "0.1", "1e-8", "123456789012345678901234567890.5", "9007199254740993", "5e-324"]
    ),
)
BAD = st.sampled_from(
    [
        (b"k", b"no json"),
        (None, b""),
        good(1, close="nan"),
        good(2, open="-1"),
        (b"BTCUSDT_1m_1", good(3)[1]),
        (None, good(4)[1]),
        (b"a\nb", good(5)[1]),
        good(6, symbol="ETHUSDT"),
        good(7, interval="7m"),
        good(8, key="BTCUSDT_1m_1"),
    ]
)
records_ = st.lists(st.one_of(st.builds(lambda n, t: good(n, high=t, volume=t), st.integers(0, 9), numbers), BAD))


@PATIENT
@given(records_)
def test_many_at_once_become_what_each_alone_becomes(records: list[Record]) -> None:
    assert plain(convert(KIND, *columns(records))) == each(records)


@PATIENT
@given(st.lists(st.tuples(st.integers(0, 10**6), numbers, numbers), min_size=1, max_size=20))
def test_the_fast_way_gives_the_same_bytes(found: list[tuple[int, str, str]]) -> None:
    records = [good(number, low=low, quote_asset_volume=volume) for number, low, volume in found]
    made = KIND.documents(*columns(records))
    assert made is not None
    assert list(zip(*made, strict=True)) == [KIND.document(*record) for record in records]


def test_one_bad_record_among_many_is_found_where_it_is() -> None:
    records = [good(number) for number in range(2 * PART_RECORDS + 7)]
    records[PART_RECORDS + 3] = (b"k", b"bad")
    converted = convert(KIND, *columns(records))
    assert [at for at, _ in converted.refused] == [PART_RECORDS + 3]
    assert plain(converted) == each(records)
    at = converted.good(len(records))
    assert list(at) == [n for n in range(len(records)) if n != PART_RECORDS + 3]
    assert [converted.keys[n].encode() for n in range(len(at))] == [records[n][0] for n in at]


def test_documents_are_called_encoded_where_none_had_to_be_looked_at_alone() -> None:
    records = [good(number) for number in range(PART_RECORDS + 1)]
    assert convert(KIND, *columns(records)).encoded
    for alone in (b"k", b"no json"), (None, good(1)[1]):
        for bad in ([alone, *records], [*records, alone]):
            assert not convert(KIND, *columns(bad)).encoded

    class Own(Candles):
        def documents(self, keys: Sequence[bytes | None], values: Sequence[bytes]) -> Columns | None:
            return super().documents(keys, values)

    assert not convert(Own(), *columns(records)).encoded, "what a plugin does itself is not known"


@pytest.fixture(scope="module")
def process() -> Iterator[HelperProcess]:
    process = HelperProcess(KIND)
    until(process.ready)
    yield process
    process.close()


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.002)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    # Nobody may have taken its zombie away: its parent was killed, and who inherits it may take a while.
    if sys.platform != "linux":
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@PATIENT
@given(records=records_)
def test_another_process_gives_the_same(process: HelperProcess, records: list[Record]) -> None:
    assert plain(process.convert(received(records))) == each(records)


def test_another_process_takes_batches_of_any_length_but_what_is_too_large(process: HelperProcess) -> None:
    assert process.convert(received([(b"k", b" " * 20_000_000)])) is None
    for count in (0, 1, PART_RECORDS, PART_RECORDS + 1, 5000):
        records = [good(number) for number in range(count)]
        records[PART_RECORDS : PART_RECORDS + 1] = [(b"k", b"bad")] * (count > PART_RECORDS)
        assert plain(process.convert(received(records))) == each(records)


def test_a_process_that_cannot_begin_is_noticed() -> None:
    of_this_process_alone: Any = SimpleNamespace(name="nothing")
    process = HelperProcess(of_this_process_alone)
    with pytest.raises(ConnectionError):
        until(process.ready)
    process.close()


def test_a_process_ends_with_its_sink_however_that_one_ends() -> None:
    script = """
        import sys, time
        from streamforge_utils.model.kinds.candles import KIND
        from streamforge_utils.runtime.sink.conversion import HelperProcess
        process = HelperProcess(KIND)
        while not process.ready():
            time.sleep(0.002)
        print(process.pid, flush=True)
        time.sleep(60)
    """
    sink = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE)
    with sink:
        assert sink.stdout is not None
        pid = int(sink.stdout.readline())
        for number in (signal.SIGINT, signal.SIGTERM):  # a terminal sends them to both
            os.kill(pid, number)
        assert not is_gone(pid)
        sink.kill()
    until(lambda: is_gone(pid))


def test_secrets_of_the_sink_are_not_in_the_process_s_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux shows the environment of a process")
    monkeypatch.setenv("KAFKA_PASSWORD", "very-secret")
    process = HelperProcess(KIND)
    until(process.ready)
    assert b"very-secret" not in Path(f"/proc/{process.pid}/environ").read_bytes()
    process.close()


class Helped:
    """An offloader whose process is ready. answer_limit_s: longer than any test takes, unless it is what is tested."""

    def __init__(self, answer_limit_s: float = 100 * LIMIT_S) -> None:
        self.logs = StringIO()
        self.offloader = Offloader(KIND, make_log(form="json", stream=self.logs), answer_limit_s=answer_limit_s)
        self.pid = 0

    async def begin(self) -> None:
        give_up = time.monotonic() + LIMIT_S
        while self.offloader.asked == 0:
            self.offloader.start_helper()  # again where one that was slow was given up
            assert plain(await self.offloader.convert(received([good(1)]))) == each([good(1)])
            assert time.monotonic() < give_up
        assert self.offloader.process is not None
        self.pid = self.offloader.process


async def test_a_closed_offloader_leaves_no_process() -> None:
    helped = Helped()
    assert plain(await helped.offloader.convert(received([good(1)]))) == each([good(1)])
    assert not helped.offloader.process, "nobody has asked for one"
    await helped.begin()
    helped.offloader.close()
    until(lambda: is_gone(helped.pid))
    assert helped.logs.getvalue() == ""


@pytest.mark.parametrize(("number", "answer_limit_s"), [(signal.SIGKILL, 100 * LIMIT_S), (signal.SIGSTOP, 1.0)])
async def test_the_offloader_goes_on_without_a_process_that_died_or_hangs(number: int, answer_limit_s: float) -> None:
    helped = Helped(answer_limit_s)
    await helped.begin()
    os.kill(helped.pid, number)
    batches = [[good(batch * 10 + n) for n in range(10)] for batch in range(5)]
    answers = [helped.offloader.convert(received(batch)) for batch in batches]
    assert [plain(await answer) for answer in answers] == [each(batch) for batch in batches]
    assert helped.offloader.process is None
    assert "failed; going on" in helped.logs.getvalue()
    until(lambda: is_gone(helped.pid))
    helped.offloader.close()


async def test_the_process_starts_before_the_batches_that_wait_are_converted() -> None:
    gate, processes = threading.Event(), list[int | None]()

    class Gated(Candles):
        def documents(self, keys: Sequence[bytes | None], values: Sequence[bytes]) -> Columns | None:
            processes.append(offloader.process)
            gate.wait()
            return super().documents(keys, values)

    offloader = Offloader(Gated(), make_log(form="json", stream=StringIO()))
    answers = [offloader.convert(received([good(number)])) for number in range(3)]
    until(lambda: len(processes) == 1)
    offloader.start_helper()
    gate.set()
    assert [plain(await answer) for answer in answers] == [each([good(number)]) for number in range(3)]
    assert processes[0] is None
    assert None not in processes[1:]
    offloader.close()


async def test_a_hanging_process_does_not_keep_the_offloader_from_closing() -> None:
    helped = Helped()
    await helped.begin()
    os.kill(helped.pid, signal.SIGSTOP)
    answer = helped.offloader.convert(received([good(1)]))
    helped.offloader.close()
    assert plain(await answer) == each([good(1)])
    until(lambda: is_gone(helped.pid))


async def test_a_process_without_work_is_ended_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    helped = Helped()
    await helped.begin()
    now = time.monotonic()
    helped.offloader.end_idle_helper()
    assert plain(await helped.offloader.convert(received([good(1)]))) == each([good(1)])
    assert helped.offloader.process == helped.pid
    monkeypatch.setattr("streamforge_utils.runtime.sink.sinks.time.monotonic", lambda: now + LIMIT_S + IDLE_S)
    helped.offloader.end_idle_helper()
    until(lambda: helped.offloader.process is None)
    monkeypatch.undo()
    asked = helped.offloader.asked
    helped.offloader.start_helper()
    give_up = time.monotonic() + LIMIT_S
    while helped.offloader.asked == asked:
        assert plain(await helped.offloader.convert(received([good(2)]))) == each([good(2)])
        assert time.monotonic() < give_up
    assert helped.offloader.process not in (None, helped.pid)
    helped.offloader.close()
