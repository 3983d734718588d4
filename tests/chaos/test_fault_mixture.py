"""Faults drawn at random that strike at once cost nothing that can be known again, and nothing without its cause.

STREAMFORGE_CHAOS_SEED: which faults. `python -m tests.chaos --mixtures N` draws any number of them.
"""

from __future__ import annotations

from pathlib import Path

from tests.chaos.fault_mixture import (
    BACK,
    CHOICES,
    GAP,
    LENGTHY,
    MIXED,
    Halt,
    draw,
    draw_end,
    draw_halt,
    draw_of_files,
    survive_faults,
)
from tests.chaos.live_killer import BOOK, SERIES
from tests.chaos.test_random_killer import SEED
from tests.e2e.test_fault_matrix import ARCHIVE


async def test_a_mixture_of_faults_costs_nothing_without_a_name(tmp_path: Path) -> None:
    print(f"\n{await survive_faults(tmp_path, seed=SEED)}")


def test_each_fault_is_drawn_and_a_seed_draws_the_same_ones() -> None:
    drawn = [one for seed in range(300) for one in draw(seed, 12, SERIES, lengthy=True)]
    assert {one.choice for one in drawn} == {*CHOICES, BACK, *LENGTHY}
    assert {one.type for one in drawn} == {type_name for _, type_name in SERIES}
    assert draw(7, 12, SERIES, lengthy=True) == draw(7, 12, SERIES, lengthy=True)
    names = {one.partition(":")[0] for seed in range(300) for one in draw_of_files(seed)}
    assert names == {one.partition(":")[0] for one in ARCHIVE}


def test_each_symbol_is_halted_before_or_after_it_is_loaded_and_one_without_a_book_delisted() -> None:
    halts = {draw_halt(seed, MIXED) for seed in range(100)}
    assert halts == {Halt(symbol, early) for symbol, _ in MIXED for early in (False, True)}
    assert {draw_end(seed, MIXED) for seed in range(100)} == {"SOLUSDT", "这是测试币456"}
    assert [draw_halt(7, MIXED), draw_end(7, MIXED)] == [draw_halt(7, MIXED), draw_end(7, MIXED)]


def test_a_diff_that_hides_what_was_lost_strikes_no_book_that_loses_anything() -> None:
    drawn = [draw(seed, 12, SERIES, lengthy=True) for seed in range(300)]
    hiding = [(one, other) for mixture in drawn for one in mixture if one.choice == BACK for other in mixture]
    assert hiding
    assert not [other for one, other in hiding if GAP in other.choice.lost and other.concerns(one.symbol)]


def test_a_fault_concerns_the_books_that_it_may_spoil() -> None:
    drawn = [one for seed in range(300) for one in draw(seed, 12, SERIES, lengthy=False)]
    for one in drawn:
        fault, book = one.choice.fault, one.type == BOOK
        assert one.concerns(one.symbol) is (book or "all=1" in one.switched)
        if fault.startswith(("stream-reset", "stream-old", "stream-stall")):
            assert one.concerns("OTHERUSDT") is (book or "all=1" in one.switched)
        elif fault.startswith(("stream-silence", "stream-missing", "stream-frame:kind=fragments", "depth-ids")):
            assert not one.concerns("OTHERUSDT")
