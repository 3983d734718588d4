"""What has to be done so that the brokers have what manifests describe: a pure function.

A thing is ours if it is noted as made or adopted by this command. Everything else is left as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from streamforge_utils.adapters.kafka_apply.manifest_reader import Rule, Wanted, WantedTopic, WantedUser
from streamforge_utils.ports.provisioning import Action, Change

Notes = frozenset[str]
"""The keys (`key_of`) of what is ours."""


_RULE = "rule/"


class ActualTopic(msgspec.Struct, frozen=True):
    """A topic as it is. config: every value in force; own: those set for this topic alone."""

    partitions: int
    replicas: int
    config: dict[str, str]
    own: frozenset[str]


class Actual(msgspec.Struct, frozen=True):
    """What the brokers have of what the manifests name.

    passwords: of users that exist, whether ours is theirs; None: we have none. unnamed: keys of what is there and
    noted as ours, but named by no manifest.
    """

    topics: dict[str, ActualTopic] = {}
    passwords: dict[str, bool | None] = {}
    rules: frozenset[Rule] = frozenset()
    unnamed: Notes = frozenset()


class TopicStep(msgspec.Struct, frozen=True):
    """partitions: to be had, None to leave them. config: values to set; None resets one."""

    topic: WantedTopic
    create: bool = False
    partitions: int | None = None
    config: dict[str, str | None] = {}


class UserStep(msgspec.Struct, frozen=True):
    """Give the user the password of the secrets' folder. fresh: after another was made and put there."""

    user: WantedUser
    fresh: bool = False


class RulesStep(msgspec.Struct, frozen=True):
    """Rules to add and to remove."""

    add: tuple[Rule, ...] = ()
    remove: tuple[Rule, ...] = ()


class Step(msgspec.Struct, frozen=True):
    """A change, what it takes, and what is noted as ours before (`notes`) and no longer (`forgets`) after it."""

    change: Change
    work: TopicStep | UserStep | RulesStep | None = None
    notes: tuple[str, ...] = ()
    forgets: tuple[str, ...] = ()


def key_of(thing: WantedTopic | WantedUser | Rule) -> str:
    """The name under which a thing is noted."""
    match thing:
        case WantedTopic():
            return f"topic/{thing.name}"
        case WantedUser():
            return f"user/{thing.name}"
        case Rule():
            parts = (thing.user, thing.permission, thing.operation, thing.resource, thing.pattern, thing.host)
            return "/".join(("rule", *parts, thing.name))


def unnamed(wanted: Wanted, ours: Notes) -> Notes:
    """What is noted as ours, but named by no manifest; not the rules of users that one names."""
    named = {key_of(topic) for topic in wanted.topics} | {key_of(user) for user in wanted.users}
    users = {user.name for user in wanted.users}
    return frozenset(key for key in ours - named if not (key.startswith(_RULE) and user_of(key) in users))


def user_of(key: str) -> str:
    """The name of the topic or user that a noted key belongs to."""
    return key.split("/", 2)[1]


def plan(
    wanted: Wanted, actual: Actual, ours: Notes, *, adopt: bool = False, rotate: frozenset[str] = frozenset()
) -> Sequence[Step]:
    """The steps, topics before users before their rules, and what no manifest names any more last.

    rotate: users that get another password.
    """
    steps = [_topic(topic, actual.topics.get(topic.name), ours, adopt) for topic in wanted.topics]
    for user in wanted.users:
        step = _user(user, actual, ours, adopt, fresh=user.name in rotate)
        steps += [step, *_rules(user, actual, ours, adopt, foreign=step.change.action is Action.FOREIGN)]
    return [*steps, *_left(unnamed(wanted, ours), actual.unnamed)]


def _left(keys: Notes, there: Notes) -> Iterable[Step]:
    for kind in ("topic", "user"):
        names = {
            user_of(key) for key in keys if key.startswith(f"{kind}/") or (kind == "user" and key.startswith(_RULE))
        }
        for name in sorted(names):
            mine = {key for key in keys if key == f"{kind}/{name}"}
            if kind == "user":
                mine |= {key for key in keys if key.startswith(f"{_RULE}{name}/")}
            rules = sum(key.startswith(_RULE) for key in mine & there)
            if mine & there:
                details = ["no manifest names it any more; remove it with Kafka's tools if it is not needed"]
                if rules:
                    details.append(f"it keeps the {rules} rights that it was given here")
                yield Step(Change(kind=kind, name=name, action=Action.LEFT, details=tuple(details)))
            if gone := mine - there:
                detail = (
                    "it is gone, and no manifest names it" if not mine & there else f"{len(gone)} parts of it are gone"
                )
                change = Change(kind=kind, name=name, action=Action.FORGET, details=(detail,))
                yield Step(change, forgets=tuple(sorted(gone)))


def _topic(topic: WantedTopic, actual: ActualTopic | None, ours: Notes, adopt: bool) -> Step:
    key = key_of(topic)

    def change(action: Action, details: Iterable[str] = (), *, as_wanted: bool = True) -> Change:
        return Change(kind="topic", name=topic.name, action=action, details=tuple(details), as_wanted=as_wanted)

    if actual is None:
        shown = [f"{topic.partitions or 'default'} partitions, {topic.replicas or 'default'} replicas"]
        shown += [f"{name} = {value}" for name, value in sorted(topic.config.items())]
        return Step(change(Action.CREATE, shown), TopicStep(topic, create=True), notes=(key,))
    mine = key in ours
    values: dict[str, str | None] = {
        name: value for name, value in topic.config.items() if actual.config.get(name) != value
    }
    if mine or adopt:
        values |= dict.fromkeys(actual.own - set(topic.config))
    details = [f"{name}: {actual.config.get(name)} -> {value or 'default'}" for name, value in sorted(values.items())]
    partitions = None
    blocked = list[str]()
    if topic.partitions is not None and topic.partitions != actual.partitions:
        if topic.partitions > actual.partitions:
            partitions = topic.partitions
            details.append(f"partitions: {actual.partitions} -> {topic.partitions}")
        else:
            blocked.append(f"it has {actual.partitions} partitions, {topic.partitions} are wanted: none can be removed")
    if topic.replicas is not None and topic.replicas != actual.replicas:
        blocked.append(f"it has {actual.replicas} replicas, {topic.replicas} are wanted: move them with Kafka's tools")
    if not mine and not adopt:
        wrong = [*details, *blocked]
        return Step(change(Action.FOREIGN, wrong, as_wanted=not wrong))
    if blocked:
        return Step(change(Action.BLOCKED, blocked, as_wanted=False))
    if details:
        work = TopicStep(topic, partitions=partitions, config=values)
        return Step(change(Action.CHANGE, details), work, notes=() if mine else (key,))
    return Step(change(Action.UNCHANGED)) if mine else Step(change(Action.ADOPT), notes=(key,))


def _user(user: WantedUser, actual: Actual, ours: Notes, adopt: bool, *, fresh: bool) -> Step:
    key = key_of(user)

    def change(action: Action, *details: str, as_wanted: bool = True) -> Change:
        return Change(kind="user", name=user.name, action=action, details=details, as_wanted=as_wanted)

    if user.name not in actual.passwords:
        return Step(change(Action.CREATE), UserStep(user, fresh), notes=(key,))
    mine, known = key in ours, actual.passwords[user.name]
    if not mine and not adopt:
        # The one who made it knows its password, unless the manifest says which one it must be.
        wrong = user.given and not known
        if fresh:
            return Step(change(Action.FOREIGN, "it is not given another password", as_wanted=False))
        return Step(change(Action.FOREIGN, *(["it has another password"] if wrong else []), as_wanted=not wrong))
    if mine and known is None and not fresh:
        # A folder without its password is more likely the wrong folder than the wish to have it changed.
        return Step(change(Action.UNCHANGED))
    if fresh or not known:
        return Step(change(Action.CHANGE, "another password"), UserStep(user, fresh), notes=() if mine else (key,))
    return Step(change(Action.UNCHANGED)) if mine else Step(change(Action.ADOPT), notes=(key,))


def _rules(user: WantedUser, actual: Actual, ours: Notes, adopt: bool, *, foreign: bool) -> list[Step]:
    there = {rule for rule in actual.rules if rule.user == user.name}
    noted = {rule for rule in there if key_of(rule) in ours}
    missing, surplus, right = user.rules - there, there - user.rules, user.rules & there
    steps = list[Step]()
    for action, rules in (
        (Action.FOREIGN if foreign else Action.CREATE, missing),
        (Action.REMOVE, surplus & noted),
        (Action.FOREIGN, surplus - noted),
        (Action.ADOPT if adopt else Action.FOREIGN, right - noted),
        (Action.UNCHANGED, right & noted),
    ):
        for name, some in _by_resource(rules).items():
            steps.append(_rules_step(action, name, some, user.rules, there))
    return sorted(steps, key=lambda step: step.change.name)


def _rules_step(action: Action, name: str, rules: tuple[Rule, ...], wanted: frozenset[Rule], there: set[Rule]) -> Step:
    keys = tuple(key_of(rule) for rule in rules)
    details = [", ".join(rule.operation for rule in rules)]
    as_wanted = True
    if action is Action.FOREIGN:
        if not set(rules) <= there:
            details.append("not there; the user is foreign")
            as_wanted = False
        elif not set(rules) <= wanted:
            details.append("no manifest says so")
            as_wanted = False
    change = Change(kind="rule", name=name, action=action, details=tuple(details), as_wanted=as_wanted)
    match action:
        case Action.CREATE:
            return Step(change, RulesStep(add=rules), notes=keys)
        case Action.REMOVE:
            return Step(change, RulesStep(remove=rules), forgets=keys)
        case Action.ADOPT:
            return Step(change, notes=keys)
        case _:
            return Step(change)


def _by_resource(rules: Iterable[Rule]) -> Mapping[str, tuple[Rule, ...]]:
    """Rules that differ in nothing but the operation, under what a person calls them."""
    found: dict[str, list[Rule]] = {}
    for rule in sorted(rules):
        name = f"{rule.user}: {rule.resource} {rule.name}{'*' if rule.pattern == 'prefix' else ''}"
        if rule.permission != "allow":
            name += f" ({rule.permission})"
        if rule.host != "*":
            name += f" from {rule.host}"
        found.setdefault(name, []).append(rule)
    return {name: tuple(some) for name, some in found.items()}
