"""The exchange's ban, folded from what was heard of it: only what makes it longer counts."""

from __future__ import annotations

from itertools import permutations

import pytest

from streamforge.manager.lifecycle.ban import LONGEST_BAN_MS, Ban, Banned, fold_ban
from tests.manager.support import NOW

UNTIL = NOW + 60_000
KNOWN = Ban(until_ms=UNTIL, reason="too many requests")


def heard(until_ms: int, *, said_ms: int = NOW, reason: str = "banned") -> Banned:
    return Banned(until_ms=until_ms, said_ms=said_ms, reason=reason)


def test_a_ban_that_ends_later_takes_the_place_of_the_one_before() -> None:
    assert fold_ban(Ban(), heard(UNTIL), NOW) == Ban(until_ms=UNTIL, reason="banned")
    assert fold_ban(KNOWN, heard(UNTIL + 1), NOW) == Ban(until_ms=UNTIL + 1, reason="banned")


@pytest.mark.parametrize("until_ms", [UNTIL, UNTIL - 1, 0])
def test_a_ban_that_ends_no_later_changes_nothing(until_ms: int) -> None:
    assert fold_ban(KNOWN, heard(until_ms), NOW) is KNOWN


@pytest.mark.parametrize("late_ms", [0, 1, LONGEST_BAN_MS])
def test_a_ban_that_is_heard_when_it_is_over_changes_nothing(late_ms: int) -> None:
    none = Ban()
    assert fold_ban(none, heard(UNTIL), UNTIL + late_ms) is none
    assert fold_ban(none, heard(UNTIL), UNTIL - 1).until_ms == UNTIL


def test_bans_may_be_heard_in_any_order_and_more_than_once() -> None:
    facts = [heard(UNTIL), heard(UNTIL + 5), heard(UNTIL - 5), heard(UNTIL)]
    for order in permutations(facts):
        ban = Ban()
        for fact in order:
            ban = fold_ban(ban, fact, NOW)
        assert ban.until_ms == UNTIL + 5


def test_nobody_can_claim_a_ban_for_ever_however_often_it_is_heard() -> None:
    endless = heard(NOW + 999 * LONGEST_BAN_MS)
    ban = fold_ban(Ban(), endless, NOW)
    assert ban.until_ms == NOW + LONGEST_BAN_MS
    assert fold_ban(ban, endless, NOW + LONGEST_BAN_MS - 1) is ban
    assert fold_ban(ban, endless, NOW + LONGEST_BAN_MS) is ban


def test_who_says_it_in_the_future_says_it_now() -> None:
    endless = heard(NOW + 999 * LONGEST_BAN_MS, said_ms=NOW + LONGEST_BAN_MS)
    assert fold_ban(Ban(), endless, NOW).until_ms == NOW + LONGEST_BAN_MS


def test_a_long_reason_is_cut() -> None:
    assert fold_ban(Ban(), heard(UNTIL, reason="x" * 1000), NOW).reason == "x" * 300
