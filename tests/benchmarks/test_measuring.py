"""The statistics and the page."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import msgspec
import pytest

from benchmarks.common.kept import Measured
from benchmarks.common.machine import Machine, this_machine
from benchmarks.common.measuring import Line, Section, in_turn, percentile, slope
from benchmarks.common.page import page, summary
from benchmarks.common.processes import resident_mb
from benchmarks.memory import growth_of
from tests.benchmarks.sanity import check_sane


@pytest.mark.parametrize(
    ("line", "passed", "value", "target"),
    [
        (Line(what="a", measured=50, unit="%", at_least=50), True, "50 %", "≥ 50 %"),
        (Line(what="a", measured=49.96, unit="%", at_least=50), False, "50.0 %", "≥ 50 %"),
        (Line(what="a", measured=9.994, unit="s", below=10), True, "9.99 s", "< 10 s"),
        (Line(what="a", measured=10, unit="s", below=10), False, "10 s", "< 10 s"),
        (Line(what="a", measured=1234.5, unit="MB"), None, "1,234 MB", ""),
    ],
)
def test_a_line_says_whether_its_target_is_met(line: Line, passed: bool | None, value: str, target: str) -> None:
    assert (line.passed, line.value, line.target) == (passed, value, target)


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    assert [percentile(values, percent) for percent in (0, 50, 95, 99, 100)] == [1, 50, 95, 99, 100]
    assert percentile([7.0], 50) == 7.0


def test_slope_is_the_growth_by_x() -> None:
    assert slope([(0, 5), (1, 7), (2, 9)]) == pytest.approx(2)
    assert slope([(1, 5), (1, 7)]) == 0
    assert slope([]) == 0


@pytest.mark.parametrize(
    ("what", "measured"),
    [("growth of the heap", 2e7), ("growth of the heap", math.nan), ("the heap", 0), ("the heap", 2e7)],
)
def test_what_cannot_be_true_is_not_sane(what: str, measured: float) -> None:
    def section(value: float) -> Section:
        return Section(title="", how="", lines=(Line(what=what, measured=value, unit="MB"),))

    check_sane(section(20))
    with pytest.raises(AssertionError, match=what):
        check_sane(section(measured))


def test_a_helper_that_ends_for_a_while_is_no_growth() -> None:
    gone = [(0.3 + n / 100, 60.0, 1) for n in range(20)]
    there = [(0.5 + n / 100, 90.0 + n / 10, 2) for n in range(50)]
    assert growth_of([(0.0, 10.0, 2), *gone, *there], 2_000_000) == pytest.approx(5)


def test_runs_take_turns() -> None:
    calls: list[str] = []

    def one(name: str) -> int:
        calls.append(name)
        return len(calls)

    found = in_turn(2, {"a": lambda: one("a"), "b": lambda: one("b")}, lambda name, result: None)
    assert calls == ["a", "b", "a", "b"]
    assert found == {"a": [1, 3], "b": [2, 4]}


def test_the_page_names_the_machine_and_shows_every_line_with_its_target() -> None:
    machine = Machine(
        date="2026-01-02",
        processor="A Processor",
        cores=2,
        memory_gb=25.2,
        system="Linux 6",
        python="CPython 3.11.1",
        sqlite="3.50.0",
        file_system="ext4",
        load=1.5,
    )
    lines = (
        Line(what="good", measured=60, unit="%", at_least=50),
        Line(what="bad", measured=12, unit="s", below=10),
        Line(what="told", measured=3, unit="s"),
    )
    section = Section(title="Things", how="A against B.", lines=lines, details=("A detail.",))
    measured = Measured(machine=machine, minutes=3.4, runs=7, disturbed=2, sections={"things": section})
    text = page(measured)
    assert "2 of 7 runs had to be taken although disturbed" in text.replace("\n", " ")
    quiet = page(msgspec.structs.replace(measured, disturbed=0)).replace("\n", " ")
    assert "of 7 runs none had to be" in quiet
    assert "run of its own" not in quiet
    assert "Measured 2026-01-02 in 3 minutes: A Processor, 2 cores, 25 GB of memory" in text
    assert "The machine was not quiet" in text
    for row in ("| good | 60 % | ≥ 50 % | met |", "| bad | 12 s | < 10 s | **missed** |", "| told | 3 s |  |  |"):
        assert text.count(row) == 1
    assert "## Things\n\nA against B.\n" in text
    assert "\n- A detail.\n" in text
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert summary([section]).splitlines()[0] == "good  60 %  ≥ 50 %  met"


def test_this_machine_is_described() -> None:
    machine = this_machine()
    assert machine.processor
    assert machine.cores >= 1
    assert 0.1 < machine.memory_gb < 1e5
    assert machine.python.startswith("CPython 3.")


def test_the_memory_of_a_process_that_is_gone_is_none() -> None:
    assert 5 < resident_mb(os.getpid()) < 5000
    assert resident_mb(2**22 + 1) == 0


@pytest.mark.e2e
def test_the_memory_of_a_process_holds_that_of_its_children() -> None:
    alone = resident_mb(os.getpid())
    script = "held = bytearray(b'x') * 50_000_000; print('ready', flush=True); input()"
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline()
        assert resident_mb(os.getpid()) > alone + 45
        child.kill()
