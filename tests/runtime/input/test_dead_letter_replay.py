from __future__ import annotations

import random

from streamforge_utils.model.topic_reading import PartitionRange
from streamforge_utils.ports.bus import Received
from streamforge_utils.runtime.input.dead_letter_replay import Choice, LetterPlace, Offsets, ReplaySettings, place_of

DLQ = "wf-data-dlq"


def letter(number: int, partition: int = 1, /, **headers: bytes) -> Received:
    return Received(DLQ, partition, number, b"k", b"v", 0, tuple(headers.items()))


def ranges(*numbers: tuple[int, int, int]) -> tuple[PartitionRange, ...]:
    return tuple(PartitionRange(*one) for one in numbers)


def test_a_letter_is_named_by_where_its_record_came_from_and_else_by_its_own_place() -> None:
    assert place_of(letter(5, topic=b"wf-data", partition=b"3", offset=b"17")) == LetterPlace("wf-data", 3, 17)
    assert place_of(letter(5, offset=b"x")) == LetterPlace(DLQ, 1, 5)


def test_offsets_are_found_as_in_a_set() -> None:
    chance = random.Random(5)
    for _ in range(200):
        several = [
            PartitionRange(chance.randrange(3), first, first + chance.randrange(4))
            for first in chance.sample(range(30), 12)
        ]
        found, there = Offsets(several), {(one.partition, n) for one in several for n in range(one.first, one.end)}
        assert {(p, n) for p in range(4) for n in range(40) if found.holds(p, n)} == there
        assert bool(found) == bool(there)


def test_without_a_choice_all_are_meant_but_what_was_passed_and_what_another_sink_refused() -> None:
    letters = [letter(1), letter(2, target=b"sink"), letter(3, target=b"another"), letter(4)]
    assert Choice(ReplaySettings(), "sink").wanted(letters) == letters, "on a topic of records headers mean nothing"
    choice = Choice(ReplaySettings(on=True, passed=ranges((1, 4, 5))), "sink")
    assert [one.offset for one in choice.wanted(letters)] == [1, 2]
    assert choice.settled(letters) == letters


def test_of_chosen_ones_each_partition_is_settled_up_to_the_first_that_stays() -> None:
    choice = Choice(ReplaySettings(on=True, letters=ranges((0, 1, 3), (1, 0, 9)), passed=ranges((0, 0, 1))), "sink")
    first = [letter(0, 0), letter(1, 0), letter(0, 1), letter(5, 0), letter(2, 0)]
    assert [(one.partition, one.offset) for one in choice.wanted(first)] == [(0, 1), (1, 0), (0, 2)]
    assert [(one.partition, one.offset) for one in choice.settled(first)] == [(0, 0), (0, 1), (1, 0)]
    assert [(one.partition, one.offset) for one in choice.settled([letter(2, 0), letter(1, 1)])] == [(1, 1)]
