"""Every benchmark runs, and what it measures can be true; how much that is, is not a matter of tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from benchmarks import __main__ as command
from benchmarks import growth
from benchmarks.__main__ import BENCHMARKS, LONG
from benchmarks.common.bench import Bench
from benchmarks.common.command import Run
from benchmarks.common.machine import this_machine
from benchmarks.common.measuring import Line, Section, Size
from tests.benchmarks.sanity import check_sane

KNOWN = BENCHMARKS | LONG
ELSEWHERE = ("gat", "kafka-", "kubernetes", "ladder", "ui-")
"""The tests of these are beside those of their engines, of networks and of the web UI."""
WITHOUT_ENGINE = sorted(name for name in KNOWN if not name.startswith(ELSEWHERE) and name != "growth")
SLOW = (
    *("arango-sink", "batch", "clients", "graphs", "live-latency", "live-memory", "live-rotation"),
    *("live-trades", "loader", "ping", "queues", "sink", "sources", "year"),
)


@pytest.mark.e2e
@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=pytest.mark.long if one in SLOW else ()) for one in WITHOUT_ENGINE]
)
def test_a_tiny_run_measures_something_sane(name: str) -> None:
    check_sane(KNOWN[name](Bench(Size.TINY, quiet=True)))


def test_growth_compares_the_longest_range_with_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {60: 1.0, 120: 3.0}
    monkeypatch.setattr(growth, "load", lambda _, candles: Run(candles, seconds[candles], 0.5))
    section = growth.run(Bench(Size.TINY, quiet=True))
    times, total = section.lines
    assert (times.measured, times.unit, times.passed) == (1.5, "times", False)
    assert (total.measured, total.passed) == (3.0, None)
    assert section.details == (
        "an hour: 60 candles in 1.00 s, 60/s, 16,667 s per million.",
        "two hours: 120 candles in 3.00 s, 40/s, 25,000 s per million.",
    )


def _broken(_: Bench) -> Section:
    raise RuntimeError("it cannot be measured")


@pytest.mark.parametrize(
    ("measured", "code", "said"),
    [
        ({"share": 71.0}, 0, []),
        ({"share": 69.0}, 1, ["missed: share: 69 %, the target is ≥ 70 %"]),
        ({"time": 10.0}, 1, ["missed: time: 10 s, the target is < 10 s"]),
        ({"share": 80.0, "time": 9.0, "plain": 1e9}, 0, []),
        ({"broken": 0.0, "share": 80.0}, 1, ["could not be run: broken"]),
        ({"time": 11.0, "share": 1.0}, 1, ["missed: time: 11 s", "missed: share: 1 %"]),
    ],
)
def test_the_exit_code_says_whether_every_target_is_met(
    measured: dict[str, float],
    code: int,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def line(what: str) -> Line:
        at_least, below = {"share": (70.0, None), "time": (None, 10.0)}.get(what, (None, None))
        unit = "%" if what == "share" else "s"
        return Line(what=what, measured=measured[what], unit=unit, at_least=at_least, below=below)

    runs = {
        name: _broken if name == "broken" else lambda _, n=name: Section(title=n, how="", lines=(line(n),))
        for name in measured
    }
    monkeypatch.setattr(command, "BENCHMARKS", runs)
    monkeypatch.setattr(command, "ROOT", tmp_path)
    (tmp_path / "docs" / "reference").mkdir(parents=True)
    assert command.main(list(measured)) == code
    told = capsys.readouterr().err
    assert [text for text in said if text not in told] == []
    assert ("missed" in told) == any("missed" in text for text in said)


def test_a_long_one_is_run_by_its_name_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    line = Line(what="took", measured=1, unit="s")
    monkeypatch.setattr(command, "ROOT", tmp_path)
    (tmp_path / "docs" / "reference").mkdir(parents=True)
    monkeypatch.setattr(command, "BENCHMARKS", {"short": lambda _: Section(title="Short", how="", lines=(line,))})
    monkeypatch.setattr(command, "LONG", {"long": lambda _: Section(title="Long", how="", lines=(line,))})
    assert command.main([]) == 0
    assert "Long" not in (tmp_path / "docs" / "reference" / "benchmarks.md").read_text()
    assert command.main(["long"]) == 0
    assert "Long" in (tmp_path / "build" / "benchmarks.md").read_text()
    with pytest.raises(SystemExit):
        command.main(["long", "--again"])
    assert "a part of the whole run" in capsys.readouterr().err


def test_one_that_could_not_be_run_is_measured_again_into_the_whole_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def measures(value: float) -> Callable[[Bench], Section]:
        return lambda _: Section(title="T", how="", lines=(Line(what=f"took {value:.0f}", measured=value, unit="s"),))

    page, part = tmp_path / "docs" / "reference" / "benchmarks.md", tmp_path / "build" / "benchmarks.md"
    page.parent.mkdir(parents=True)
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command, "BENCHMARKS", {"one": measures(1), "two": _broken})
    with pytest.raises(SystemExit):
        command.main(["two", "--again"])
    assert "--again needs the numbers of a whole run" in capsys.readouterr().err
    assert command.main([]) == 1
    assert not page.exists()
    assert "took 1" in part.read_text()
    monkeypatch.setattr(command, "BENCHMARKS", {"one": measures(3), "two": measures(2)})
    assert command.main(["one"]) == 0  # a part, which is nobody's whole run
    assert command.main(["two", "--again"]) == 0
    assert [text in page.read_text() for text in ("took 1 ", "took 2 ", "took 3 ")] == [True, True, False]
    assert "Measured after the others, in a run of its own: two." in page.read_text().replace("\n", " ")
    today = this_machine()
    monkeypatch.setattr(command, "this_machine", lambda: msgspec.structs.replace(today, date="2020-01-01"))
    with pytest.raises(SystemExit):
        command.main(["two", "--again"])
    assert "another machine or another day" in capsys.readouterr().err
