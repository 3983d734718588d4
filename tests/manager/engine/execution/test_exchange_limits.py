from __future__ import annotations

import itertools
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamforge.manager.engine.execution.exchange_limits import CONNECT_WINDOW_MS, MINIMUM, Budget, Connects, Process
from streamforge.manager.policy import Policy
from streamforge_utils.model.errors import ConfigError
from streamforge_utils.runtime.life.environment import load


def told(budget: Budget, live: list[str], running: list[str], *, banned: bool = False) -> dict[str, int]:
    """Deal, and tell everybody."""
    dealt = budget.deal(live, running, banned=banned)
    for job, share in dealt.items():
        budget.sent(job, share)
    return dealt


def test_shares_are_dealt_again_as_loaders_come_and_go() -> None:
    budget = Budget(4200)
    budget.sent("a", budget.share(1))
    assert told(budget, ["a"], ["a"]) == {}
    budget.sent("b", budget.share(2))
    assert told(budget, ["a", "b"], ["a"]) == {"a": 2100}
    assert told(budget, ["a", "b"], ["a", "b"]) == {}
    assert told(budget, ["b"], ["b"]) == {"b": 4200}
    assert told(budget, [], []) == {}


def test_a_share_that_was_not_sent_is_dealt_again_and_one_of_a_name_that_comes_again_too() -> None:
    budget = Budget(100)
    assert budget.deal(["a"], ["a"]) == told(budget, ["a"], ["a"]) == {"a": 100}
    told(budget, [], [])
    assert told(budget, ["a", "b"], ["a", "b"]) == {"a": 50, "b": 50}


def test_the_least_share_and_none_at_all() -> None:
    assert Budget(100).share(0) == 100
    assert Budget(100).share(50) == MINIMUM
    budget = Budget(100)
    assert told(budget, ["a"], ["a"], banned=True) == {"a": 0}
    assert told(budget, ["a"], ["a"]) == {"a": 100}


def connects_dealt(connects: Connects, running: list[str], now_ms: int) -> dict[str, int]:
    dealt = connects.deal(running, now_ms)
    for job, share in dealt.items():
        connects.sent(job, share, now_ms)
    return dealt


def followed(connects: Connects, total: int) -> Connects:
    """Of another manager, which goes on with what is stored."""
    follower = Connects(total)
    follower.restore(msgspec.json.decode(msgspec.json.encode(connects.processes), type=dict[str, Process]))
    return follower


W = CONNECT_WINDOW_MS
MINUTE = 60_000


def test_a_process_has_a_quarter_at_first_and_all_of_its_fifth_after_a_minute() -> None:
    connects = Connects(400)
    assert [connects_dealt(connects, ["a"], at) for at in (0, 29_999, 30_000, MINUTE, W)] == [
        {"a": 5},
        {},
        {"a": 10},
        {"a": 20},
        {},
    ]


def test_shares_shrink_as_more_come_and_who_is_new_may_try_once_more() -> None:
    connects = Connects(40)  # a usual half of 10, of which one has 2 at most
    now = 1
    assert connects_dealt(connects, list("abcde"), 0) == dict.fromkeys("abcde", 2)
    assert connects_dealt(connects, [*"abcdefghij"], now) == dict.fromkeys("abcdefghij", 1)
    # Who is new has one more than it was launched for, also where others have all.
    assert connects_dealt(connects, ["k"], now + 1) == {"k": 2}


def test_what_another_manager_dealt_counts_for_five_minutes_too() -> None:
    connects = Connects(200)
    for at in (0, 30_000, MINUTE):
        connects_dealt(connects, list("abcde"), at)
    connects = followed(connects, 200)
    assert connects_dealt(connects, ["k"], MINUTE + 1) == {"k": 2}
    assert connects_dealt(connects, ["k"], W + MINUTE) == {}
    assert connects_dealt(connects, ["k"], W + MINUTE + 1) == {"k": 10}


@pytest.mark.parametrize("ended", [True, False])
def test_what_was_taken_back_or_of_ended_processes_counts_for_five_minutes(ended: bool) -> None:
    connects = Connects(200)  # a usual half of 50, of which one has 10 at most
    dealt = [connects_dealt(connects, list("abcde"), at) for at in (0, 30_000, MINUTE)]
    assert dealt[-1] == dict.fromkeys("abcde", 10)
    now, jobs = MINUTE + 1, list("k") if ended else list("abcdek")
    assert connects_dealt(connects, jobs, now) == ({} if ended else dict.fromkeys("abcde", 8)) | {"k": 2}
    for at in (now + MINUTE, now + W - 1):
        assert connects_dealt(connects, jobs, at) == {}
    assert connects_dealt(connects, jobs, now + W) == {"k": 10 if ended else 8}


def test_a_share_that_may_not_have_come_is_dealt_again_and_counts() -> None:
    connects = Connects(40)
    everybody = list("abcdefghij")
    assert connects.deal(everybody, 0) == connects_dealt(connects, everybody, 0) == dict.fromkeys(everybody, 1)
    assert connects_dealt(connects, ["k"], 1) == {"k": 2}


def test_where_there_are_too_few_for_all_they_take_turns() -> None:
    connects, jobs = Connects(8), ["a", "b", "c", "d", "e"]
    had = dict.fromkeys(jobs, 0)
    shares = dict.fromkeys(jobs, 1)  # which they were launched with
    for at in range(0, 12 * W, MINUTE):
        shares |= connects_dealt(connects, jobs, at)
        if at >= W:
            assert sum(shares.values()) <= 2
            had = {job: had[job] + shares[job] for job in jobs}
    assert min(had.values()) > 0.5 * max(had.values())


class Worker:
    """Connects as often as its share allows."""

    def __init__(self) -> None:
        self.share = 1
        self.taken: list[int] = []

    def take(self, now_ms: int) -> int:
        self.taken = [one for one in self.taken if one > now_ms - W]
        more = max(0, self.share - len(self.taken))
        self.taken += [now_ms] * more
        return more


def test_processes_that_follow_each_other_at_once_are_dealt_no_more_than_the_total() -> None:
    connects, running = Connects(80), [f"a{n}" for n in range(10)]  # a usual half of 20, of which each has 2
    workers = {job: Worker() for job in running}
    tried, launched = 0, 0
    for number in range(5):
        if number:
            running = [f"{number}-{n}" for n in range(10)]
            workers = {job: Worker() for job in running}
            tried += sum(one.take(number) for one in workers.values())
            assert connects.may_launch(launched, leaving=True)
            launched += 10
        for job, share in connects_dealt(connects, running, number).items():
            workers[job].share = share
        tried += sum(one.take(number) for one in workers.values())
    assert not connects.may_launch(launched, leaving=True)
    assert tried == 70  # the first twenty twice, the others once
    assert connects_dealt(connects, running, W + 2) == dict.fromkeys(running, 2)


@given(st.randoms(use_true_random=False), st.sampled_from([2, 3, 7, 14, 80, 150, 300]))
@settings(max_examples=30, deadline=None)
def test_no_five_minutes_have_more_than_the_total_whoever_comes_and_goes_and_deals(
    drawn: random.Random, total: int
) -> None:
    connects, workers, now_ms = Connects(total), dict[str, Worker](), 0
    launched, tried, numbers = list[int](), list[int](), itertools.count()
    come, go, storm, follow = drawn.random(), drawn.random() * 0.3, drawn.random(), drawn.random()
    for _ in range(120):
        now_ms += drawn.randint(1, 40_000)
        if drawn.random() < 0.1:  # another manager goes on with what is stored
            connects = followed(connects, total)
        leaving = 0
        for name in [*workers]:
            if drawn.random() < go:
                del workers[name]
                leaving += drawn.random() < follow
        launched = [one for one in launched if one > now_ms - W]
        while (leaving or drawn.random() < come) and connects.may_launch(len(launched), leaving=leaving > 0):
            leaving -= leaving > 0
            launched.append(now_ms)
            workers[f"w{next(numbers)}"] = new = Worker()
            tried += [now_ms] * new.take(now_ms)
        jobs = list(workers)
        for job, share in connects.deal(jobs, now_ms).items():
            fate = drawn.choice(("sent", "sent", "sent", "lost", "unknown"))
            if fate != "lost" or not share:
                workers[job].share = share
            if fate == "sent":
                connects.sent(job, share, now_ms)
        for worker in workers.values():
            if drawn.random() < storm:
                tried += [now_ms] * worker.take(now_ms)
        tried = [one for one in tried if one > now_ms - W]
        assert len(tried) <= total


def test_a_quarter_of_them_may_be_launched_in_five_minutes() -> None:
    connects = Connects(8)
    assert [connects.may_launch(launched) for launched in (1, 2)] == [True, False]


def test_no_share_of_connections_is_more_than_a_loader_takes() -> None:
    connects = Connects(load(Policy, {"STREAMFORGE_TOTAL_CONNECTS": "10000"}).connects)
    assert [connects_dealt(connects, ["a"], at)["a"] for at in (0, MINUTE)] == [7, 30]
    with pytest.raises(ConfigError, match="STREAMFORGE_TOTAL_CONNECTS: '10001' is not accepted"):
        load(Policy, {"STREAMFORGE_TOTAL_CONNECTS": "10001"})


@pytest.mark.parametrize(("total", "half", "most"), [(150, 37, 75), (300, 75, 150), (240, 60, 120), (2, 1, 1)])
def test_for_who_cannot_wait_there_is_another_quarter(total: int, half: int, most: int) -> None:
    connects = Connects(total)
    for count in (half - 1, half, most - 1, most):
        assert connects.may_launch(count) is (count < half)
        assert connects.may_launch(count, leaving=True) is (count < most)
