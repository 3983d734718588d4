"""Deciding what has to be done: every case of ours, foreign, equal and different."""

from __future__ import annotations

import msgspec
import pytest

from streamforge_utils.adapters.kafka_apply.apply_plan import (
    Actual,
    ActualTopic,
    RulesStep,
    Step,
    TopicStep,
    UserStep,
    key_of,
    plan,
)
from streamforge_utils.adapters.kafka_apply.manifest_reader import Rule, SecretKey, Wanted, WantedTopic, WantedUser
from streamforge_utils.ports.provisioning import Action

READ = Rule("somebody", "topic", "prefix", "wf-", "Read")
WRITE = Rule("somebody", "topic", "prefix", "wf-", "Write")
DELETE = Rule("somebody", "topic", "prefix", "wf-", "Delete")
TOPIC = WantedTopic("t", 2, 1, {"retention.ms": "1"}, "t.yaml")
USER = WantedUser("somebody", SecretKey("somebody"), False, frozenset({READ, WRITE}), "u.yaml")
SAME = ActualTopic(2, 1, {"retention.ms": "1", "segment.bytes": "7"}, frozenset({"retention.ms"}))
NOTHING = frozenset[str]()


def noted(*things: WantedTopic | WantedUser | Rule) -> frozenset[str]:
    return frozenset(key_of(thing) for thing in things)


def user_steps(actual: Actual, ours: frozenset[str], *, adopt: bool = False, user: WantedUser = USER) -> list[Step]:
    return list(plan(Wanted(users=(user,)), actual, ours, adopt=adopt))


OLD = {"retention.ms": "5"}
NEW = {"retention.ms": "1"}
RESET = {"retention.ms": "1", "segment.bytes": None}


@pytest.mark.parametrize(
    ("there", "ours", "adopt", "action", "work", "as_wanted"),
    [
        (None, False, False, Action.CREATE, TopicStep(TOPIC, create=True), True),
        (None, True, False, Action.CREATE, TopicStep(TOPIC, create=True), True),
        (SAME, True, False, Action.UNCHANGED, None, True),
        (
            ActualTopic(1, 1, OLD | {"segment.bytes": "7"}, frozenset({"retention.ms", "segment.bytes"})),
            *(True, False, Action.CHANGE, TopicStep(TOPIC, partitions=2, config=RESET), True),
        ),
        (ActualTopic(3, 1, OLD, NOTHING), True, False, Action.BLOCKED, None, False),
        (ActualTopic(2, 3, OLD, NOTHING), True, False, Action.BLOCKED, None, False),
        (SAME, False, False, Action.FOREIGN, None, True),
        (ActualTopic(1, 1, OLD, NOTHING), False, False, Action.FOREIGN, None, False),
        (SAME, False, True, Action.ADOPT, None, True),
        (ActualTopic(1, 1, NEW, NOTHING), False, True, Action.CHANGE, TopicStep(TOPIC, partitions=2), True),
    ],
)
def test_a_topic_is_made_changed_or_left_by_what_is_there_and_whose_it_is(
    there: ActualTopic | None, ours: bool, adopt: bool, action: Action, work: TopicStep | None, as_wanted: bool
) -> None:
    actual = Actual(topics={} if there is None else {"t": there})
    (step,) = plan(Wanted(topics=(TOPIC,)), actual, noted(TOPIC) if ours else NOTHING, adopt=adopt)
    assert (step.change.action, step.work, step.change.as_wanted) == (action, work, as_wanted)
    # What is made is noted even if it was ours before.
    assert step.notes == ((key_of(TOPIC),) if there is None or adopt else ())
    if work is not None and work.config:
        told = ("retention.ms: 5 -> 1", "segment.bytes: 7 -> default", "partitions: 1 -> 2")
        assert step.change.details == told


def test_a_new_user_is_made_before_its_rules() -> None:
    user, rules = user_steps(Actual(), NOTHING)
    assert (user.change.action, user.work) == (Action.CREATE, UserStep(USER))
    assert (rules.change.action, rules.work) == (Action.CREATE, RulesStep(add=(READ, WRITE)))
    assert rules.notes == (key_of(READ), key_of(WRITE))


def test_a_user_of_ours_with_another_password_gets_the_wanted_one() -> None:
    user, *_ = user_steps(Actual(passwords={"somebody": False}), frozenset({key_of(USER)}))
    assert (user.change.action, user.work) == (Action.CHANGE, UserStep(USER))


def test_a_user_of_ours_that_is_as_wanted_is_left_with_its_rules() -> None:
    ours = noted(USER, READ, WRITE)
    steps = user_steps(Actual(passwords={"somebody": True}, rules=frozenset({READ, WRITE})), ours)
    assert {step.change.action for step in steps} == {Action.UNCHANGED}
    assert all(step.work is None and not step.notes and step.change.as_wanted for step in steps)


def test_a_foreign_user_gets_neither_a_password_nor_a_rule() -> None:
    user, rules = user_steps(Actual(passwords={"somebody": False}), NOTHING)
    assert (user.change.action, user.work, user.change.as_wanted) == (Action.FOREIGN, None, True)
    assert (rules.change.action, rules.work, rules.change.as_wanted) == (Action.FOREIGN, None, False)


def test_a_foreign_user_whose_password_is_not_the_given_one_is_unlike() -> None:
    given = msgspec.structs.replace(USER, given=True, rules=frozenset())
    (user,) = user_steps(Actual(passwords={"somebody": False}), NOTHING, user=given)
    assert (user.change.action, user.change.as_wanted) == (Action.FOREIGN, False)


def test_of_the_rules_that_nobody_wants_only_ours_are_removed() -> None:
    ours = noted(USER, READ, WRITE, DELETE)
    there = Actual(passwords={"somebody": True}, rules=frozenset({READ, WRITE, DELETE}))
    removed = next(step for step in user_steps(there, ours) if step.change.action is Action.REMOVE)
    assert (removed.work, removed.forgets) == (RulesStep(remove=(DELETE,)), (key_of(DELETE),))
    for adopt in (False, True):  # no manifest names it, so it cannot be adopted
        foreign = next(
            step
            for step in user_steps(there, ours - {key_of(DELETE)}, adopt=adopt)
            if step.change.action is Action.FOREIGN
        )
        assert (foreign.work, foreign.change.as_wanted) == (None, False)


def test_a_foreign_rule_that_is_wanted_anyway_is_left_and_no_problem() -> None:
    ours = noted(USER, READ)
    there = Actual(passwords={"somebody": True}, rules=frozenset({READ, WRITE}))
    foreign = next(step for step in user_steps(there, ours) if step.change.action is Action.FOREIGN)
    assert (foreign.work, foreign.change.as_wanted) == (None, True)
    adopted = next(step for step in user_steps(there, ours, adopt=True) if step.change.action is Action.ADOPT)
    assert adopted.notes == (key_of(WRITE),)


def test_rules_of_users_that_no_manifest_names_are_told_and_left() -> None:
    other = msgspec.structs.replace(DELETE, user="other")
    ours = noted(USER, READ, WRITE, other)
    there = Actual(
        passwords={"somebody": True}, rules=frozenset({READ, WRITE, other}), unnamed=frozenset({key_of(other)})
    )
    *wanted, left = user_steps(there, ours)
    assert {step.change.action for step in wanted} == {Action.UNCHANGED}
    assert (left.change.name, left.change.action, left.work) == ("other", Action.LEFT, None)


def test_rules_that_differ_in_anything_have_different_keys() -> None:
    changed = [
        msgspec.structs.replace(READ, **{field: "x"})
        for field in ("user", "resource", "pattern", "name", "operation", "permission", "host")
    ]
    assert len({key_of(rule) for rule in (READ, *changed)}) == 8


def test_a_user_whose_password_is_unknown_here_keeps_it_unless_it_is_rotated() -> None:
    ours = noted(USER, READ, WRITE)
    actual = Actual(passwords={"somebody": None}, rules=frozenset({READ, WRITE}))
    assert user_steps(actual, ours)[0].change.action is Action.UNCHANGED
    step = plan(Wanted(users=(USER,)), actual, ours, rotate=frozenset({"somebody"}))[0]
    assert (step.change.action, step.work) == (Action.CHANGE, UserStep(USER, fresh=True))
    # Of a foreign one it is nobody's here to change; who adopts it, sets it.
    foreign = plan(Wanted(users=(USER,)), actual, NOTHING, rotate=frozenset({"somebody"}))[0]
    assert (foreign.change.action, foreign.work, foreign.change.as_wanted) == (Action.FOREIGN, None, False)
    assert user_steps(actual, NOTHING, adopt=True)[0].change.action is Action.CHANGE


def test_what_no_manifest_names_is_told_while_it_is_there_and_forgotten_once_it_is_gone() -> None:
    ours = noted(TOPIC, USER, READ, WRITE)
    there = ours - noted(WRITE)
    topic, user, gone = plan(Wanted(), Actual(unnamed=there), ours)
    assert (topic.change.kind, topic.change.name, topic.change.action) == ("topic", "t", Action.LEFT)
    assert (user.change.kind, user.change.name, user.change.action) == ("user", "somebody", Action.LEFT)
    assert "it keeps the 1 rights that it was given here" in user.change.details
    assert (gone.change.action, gone.forgets) == (Action.FORGET, (key_of(WRITE),))
    assert not topic.change.does_something
    assert not user.change.does_something
    steps = plan(Wanted(), Actual(), ours)
    assert [(step.change.action, step.work) for step in steps] == [(Action.FORGET, None)] * 2
    assert {key for step in steps for key in step.forgets} == ours
