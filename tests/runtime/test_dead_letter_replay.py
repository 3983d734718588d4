from __future__ import annotations

import pytest

from streamforge_utils.ports.bus import Received
from streamforge_utils.runtime.dead_letter_replay import LetterPlace, divided, place_of

DLQ = "wf-data-dlq"


def letter(number: int, **headers: bytes) -> Received:
    return Received(DLQ, 1, number, b"k", b"v", 0, tuple(headers.items()))


def test_a_place_is_read_as_it_is_written() -> None:
    place = LetterPlace("wf-a-data", 2, 17)
    assert LetterPlace.parse_setting(str(place)) == place
    for text in ("", "topic", "topic:1", ":1:2", "topic:x:2", "topic:1:-2", "topic:1:\u0661"):
        with pytest.raises(ValueError, match="has not the form TOPIC:PARTITION:OFFSET"):
            LetterPlace.parse_setting(text)


def test_a_letter_is_named_by_where_its_record_came_from_and_else_by_its_own_place() -> None:
    assert place_of(letter(5, topic=b"wf-data", partition=b"3", offset=b"17")) == LetterPlace("wf-data", 3, 17)
    assert place_of(letter(5, offset=b"x")) == LetterPlace(DLQ, 1, 5)


def test_the_chosen_are_divided_from_the_others_and_without_a_choice_all_are_meant() -> None:
    letters = [letter(1), letter(2, topic=b"wf-data", partition=b"0", offset=b"9"), letter(3)]
    assert divided(letters, frozenset()) == (letters, ())
    wanted, others = divided(letters, {LetterPlace("wf-data", 0, 9), LetterPlace("wf-data", 0, 1)})
    assert ([one.offset for one in wanted], [one.offset for one in others]) == ([2], [1, 3])
