"""Applies Strimzi's manifests of topics and users by Kafka's Admin API, where there is no operator."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from streamforge_utils.adapters.kafka.admin import Admin
from streamforge_utils.adapters.kafka.connection import Connection, Login, Role
from streamforge_utils.adapters.kafka.errors import About
from streamforge_utils.adapters.kafka.handle import CALL_S, Handle
from streamforge_utils.adapters.kafka.manifests.notes import TOPIC as NOTES
from streamforge_utils.adapters.kafka.manifests.notes import NotesTopic
from streamforge_utils.adapters.kafka.manifests.plan import (
    Actual,
    ActualTopic,
    RulesStep,
    Step,
    TopicStep,
    UserStep,
    plan,
)
from streamforge_utils.adapters.kafka.manifests.reading import Rule, Wanted, WantedTopic, WantedUser, read_manifests
from streamforge_utils.adapters.kafka.manifests.secrets import Password, SecretsFolder
from streamforge_utils.model.errors import ConfigError, PermanentError, RetryableError, StreamForgeError
from streamforge_utils.ports.provisioning import Action, Change

ITERATIONS = 4096
"""Of SCRAM; as many as Strimzi's User Operator takes."""

SETTLE_S = 15.0
"""How long the brokers may take to know of a new topic or password."""

_PAUSE_S = 0.05


class ManifestProvisioner:
    """Implements `Provisioner`. folder: the manifests. secrets: where passwords lie. adopt: take foreign things."""

    def __init__(self, connection: Connection, folder: Path, *, secrets: Path, adopt: bool = False) -> None:
        self._connection = connection
        self._folder = folder
        self._secrets = SecretsFolder(secrets)
        self._adopt = adopt
        self._admin = Admin(connection)
        self._handle: Handle[AdminClient] = self._admin.handle
        self._notes = NotesTopic(connection)
        self._steps: Sequence[Step] = ()
        self._wanted = Wanted()

    def plan(self) -> Sequence[Change]:
        wanted = self._wanted = read_manifests(self._folder)
        for user in wanted.users:
            if user.given:
                self._secrets.require(user)
        there = set(self._admin.names())
        ours = self._notes.read() if NOTES in there else frozenset[str]()
        actual = Actual(
            topics=self._topics([topic for topic in wanted.topics if topic.name in there]),
            passwords=self._passwords(wanted.users),
            rules=self._rules(wanted.users),
        )
        steps = plan(wanted, actual, ours, adopt=self._adopt)
        if NOTES not in there and any(step.notes for step in steps):
            told = Change(kind="topic", name=NOTES, action=Action.CREATE, details=("notes what this command made",))
            steps = [Step(told), *steps]
        self._steps = steps
        return [step.change for step in steps]

    def notes(self) -> Sequence[str]:
        notes = [f"{name} is skipped: only an operator can make it" for name in self._wanted.skipped]
        making = [step.work.user for step in self._steps if isinstance(step.work, UserStep)]
        notes += [
            f"user {user.name}: its password will be made and written to {self._secrets.path(user)}"
            for user in making
            if self._secrets.read(user) is None
        ]
        return notes

    def apply(self) -> Iterator[Change]:
        for step in self._steps:
            if not step.change.does_something:
                continue
            # First the note: what we made and did not note would be foreign for ever.
            if step.change.name == NOTES:
                self._create(NotesTopic.new())
            elif step.notes:
                self._notes.write(step.notes, ours=True)
            self._do(step)
            if step.forgets:
                self._notes.write(step.forgets, ours=False)
            yield step.change

    def _do(self, step: Step) -> None:
        match step.work:
            case TopicStep():
                try:
                    self._do_topic(step.work)
                except (ConfigError, PermanentError):
                    # It was refused, not cut short: what another makes of that name is not ours.
                    if step.work.create:
                        self._notes.write(step.notes, ours=False)
                    raise
            case UserStep(user):
                self._do_user(user)
            case RulesStep(add, remove):
                self._do_rules(add, remove)

    def close(self) -> None:
        self._notes.close()
        self._admin.close()

    # What is there

    def _topics(self, wanted: Sequence[WantedTopic]) -> dict[str, ActualTopic]:
        found = dict[str, ActualTopic]()
        if not wanted:
            return found
        client = self._handle.get()
        named = [topic.name for topic in wanted]
        asked = client.describe_topics(TopicCollection(named), request_timeout=CALL_S)
        resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in named]
        configs = client.describe_configs(resources, request_timeout=CALL_S)
        for resource in resources:
            name = resource.name
            about = About(what=f"describe topic {name}", topic=name)
            partitions = self._handle.wait_for(asked[name], about).partitions
            entries = self._handle.wait_for(configs[resource], msgspec.structs.replace(about, needs="describe configs"))
            found[name] = ActualTopic(
                partitions=len(partitions),
                replicas=len(partitions[0].replicas),
                config={entry.name: entry.value for entry in entries.values()},
                own=frozenset(
                    entry.name
                    for entry in entries.values()
                    if int(entry.source) == ConfigSource.DYNAMIC_TOPIC_CONFIG.value
                ),
            )
        return found

    def _passwords(self, users: Sequence[WantedUser]) -> dict[str, bool]:
        if not users:
            return {}
        names = [user.name for user in users]
        # With names it answers for each; without any, as its type also says, for all at once.
        asked: Any = self._handle.get().describe_user_scram_credentials(names, request_timeout=CALL_S)
        found = {}
        for user in users:
            try:
                self._handle.wait_for(asked[user.name], About(what=f"look for user {user.name}"))
            except StreamForgeError as error:
                if _name_of(error) == "RESOURCE_NOT_FOUND":
                    continue
                raise
            password = self._secrets.read(user)
            found[user.name] = password is not None and self._lets_in(user, password)
        return found

    def _lets_in(self, user: WantedUser, password: Password) -> bool:
        """Whether the brokers take this password; they never tell it."""
        login = Login(user=user.name, password=password, password_setting=str(self._secrets.path(user)))
        connection = msgspec.structs.replace(self._connection, logins={Role.ADMIN: login})
        trying = Admin(connection)
        try:
            trying.names()
        except ConfigError:
            return False
        finally:
            trying.close()
        return True

    def _rules(self, users: Sequence[WantedUser]) -> frozenset[Rule]:
        found = set[Rule]()
        if users:
            self._require_authorizer()
        for user in users:
            asked = self._handle.get().describe_acls(rules_of(f"User:{user.name}"), request_timeout=CALL_S)
            bindings = self._handle.wait_for(asked, About(what=f"look for the ACLs of {user.name}"))
            found |= {_rule(binding) for binding in bindings}
        return frozenset(found)

    def _require_authorizer(self) -> None:
        """Raises ConfigError where rules would protect nothing.

        Asked what rules there are, such a broker says none; only asked to remove one does it tell. There is none such.
        """
        nothing = _exactly(Rule(f"nobody-{uuid.uuid4()}", "topic", "literal", NOTES, "ClusterAction", "deny"))
        asked = self._handle.get().delete_acls([nothing], request_timeout=CALL_S)[nothing]
        self._handle.wait_for(asked, About(what="make ACLs"))

    # What is done

    def _create(self, new: NewTopic) -> None:
        about = About(what=f"create topic {new.topic}", topic=new.topic, needs="create")
        asked = self._handle.get().create_topics([new], request_timeout=CALL_S)
        self._handle.wait_for(asked[new.topic], about)
        give_up = time.monotonic() + SETTLE_S
        while new.topic not in self._admin.names():
            if time.monotonic() > give_up:
                raise RetryableError(f"topic {new.topic} is not known to all brokers after {SETTLE_S:g} s; try again")
            time.sleep(_PAUSE_S)

    def _do_topic(self, step: TopicStep) -> None:
        topic = step.topic
        if step.create:
            # -1: as many as the brokers' settings say.
            self._create(NewTopic(topic.name, topic.partitions or -1, topic.replicas or -1, config=topic.config))
            return
        client = self._handle.get()
        if step.config:
            about = About(what=f"change topic {topic.name}", topic=topic.name, needs="alter")
            entries = [
                ConfigEntry(
                    name,
                    value,
                    incremental_operation=AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET,
                )
                for name, value in step.config.items()
            ]
            resource = ConfigResource(ConfigResource.Type.TOPIC, topic.name, incremental_configs=entries)
            altered = client.incremental_alter_configs([resource], request_timeout=CALL_S)
            self._handle.wait_for(altered[resource], about)
        if step.partitions is not None:
            about = About(what=f"add partitions to topic {topic.name}", topic=topic.name, needs="alter")
            grown = client.create_partitions([NewPartitions(topic.name, step.partitions)], request_timeout=CALL_S)
            self._handle.wait_for(grown[topic.name], about)

    def _do_user(self, user: WantedUser) -> None:
        password = self._secrets.require(user)
        change = UserScramCredentialUpsertion(
            user.name,
            ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, ITERATIONS),
            password.reveal().encode(),
        )
        asked = self._handle.get().alter_user_scram_credentials([change], request_timeout=CALL_S)
        self._handle.wait_for(asked[user.name], About(what=f"give user {user.name} its password"))
        give_up = time.monotonic() + SETTLE_S
        while not self._lets_in(user, password):
            if time.monotonic() > give_up:
                raise RetryableError(f"user {user.name} cannot log in {SETTLE_S:g} s after it was made; try again")
            time.sleep(_PAUSE_S)

    def _do_rules(self, add: Sequence[Rule], remove: Sequence[Rule]) -> None:
        client = self._handle.get()
        if add:
            bindings = [_binding(rule) for rule in add]
            made = client.create_acls(bindings, request_timeout=CALL_S)
            for binding in bindings:
                self._handle.wait_for(made[binding], About(what=f"add an ACL for {binding.principal}"))
        if remove:
            filters = [_exactly(rule) for rule in remove]
            gone = client.delete_acls(filters, request_timeout=CALL_S)
            for one in filters:
                self._handle.wait_for(gone[one], About(what=f"remove an ACL of {one.principal}"))


_RESOURCES = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "cluster": ResourceType.BROKER,
    "transactionalId": ResourceType.TRANSACTIONAL_ID,
}
_PATTERNS = {"literal": ResourcePatternType.LITERAL, "prefix": ResourcePatternType.PREFIXED}
_PERMISSIONS = {"allow": AclPermissionType.ALLOW, "deny": AclPermissionType.DENY}
_OPERATIONS = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Create": AclOperation.CREATE,
    "Delete": AclOperation.DELETE,
    "Alter": AclOperation.ALTER,
    "Describe": AclOperation.DESCRIBE,
    "ClusterAction": AclOperation.CLUSTER_ACTION,
    "AlterConfigs": AclOperation.ALTER_CONFIGS,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
    "IdempotentWrite": AclOperation.IDEMPOTENT_WRITE,
    "All": AclOperation.ALL,
}


def rules_of(principal: str) -> AclBindingFilter:
    anything: Any = None  # of any name, from any host; the type wants texts
    return AclBindingFilter(
        ResourceType.ANY,
        anything,
        ResourcePatternType.ANY,
        principal,
        anything,
        AclOperation.ANY,
        AclPermissionType.ANY,
    )


def _parts(rule: Rule) -> tuple[Any, ...]:
    return (
        _RESOURCES[rule.resource],
        rule.name,
        _PATTERNS[rule.pattern],
        f"User:{rule.user}",
        rule.host,
        _OPERATIONS[rule.operation],
        _PERMISSIONS[rule.permission],
    )


def _binding(rule: Rule) -> AclBinding:
    return AclBinding(*_parts(rule))


def _exactly(rule: Rule) -> AclBindingFilter:
    return AclBindingFilter(*_parts(rule))


def _rule(binding: AclBinding) -> Rule:
    def word(table: Mapping[str, object], value: Any) -> str:
        return next((name for name, one in table.items() if one == value), str(value.name).lower())

    return Rule(
        user=binding.principal.removeprefix("User:"),
        resource=word(_RESOURCES, binding.restype),
        pattern=word(_PATTERNS, binding.resource_pattern_type),
        name=binding.name,
        operation=word(_OPERATIONS, binding.operation),
        permission=word(_PERMISSIONS, binding.permission_type),
        host=binding.host,
    )


def _name_of(error: BaseException) -> str:
    cause = error.__cause__
    return str(cause.args[0].name()) if isinstance(cause, KafkaException) else ""
