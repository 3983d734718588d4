"""What a double does not promise, by name and reason: nothing of a contract is left out in silence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T", bound=type)


def without(reasons: Mapping[str, str]) -> Callable[[T], T]:
    """Leave these tests out of a contract. reasons: by the test's name; a name that is none is an error."""

    def leave_out(suite: T) -> T:
        for name, reason in reasons.items():
            if not callable(getattr(suite, name, None)) or not reason:
                raise AssertionError(f"{suite.__name__}: {name} is no test of its contract, or no reason is given")
            setattr(suite, name, None)
        return suite

    return leave_out


SPREAD = dict.fromkeys(
    (
        "test_a_key_stays_in_its_partition_in_order_whoever_sends",
        "test_messages_without_a_key_are_spread_and_a_poll_gives_no_more_than_was_asked_for",
    ),
    "its topics have one partition",
)
SHARED = dict.fromkeys(
    (
        "test_two_members_share_the_partitions",
        "test_a_late_commit_of_a_partition_that_was_lost_is_refused",
        "test_a_late_commit_of_a_partition_that_came_back_changes_nothing",
    ),
    "its topics have one partition, which is lost only by leaving",
)
