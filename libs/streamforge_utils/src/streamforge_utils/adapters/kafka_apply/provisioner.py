"""Applies Strimzi's manifests of topics and users by Kafka's Admin API, where there is no operator."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import TopicCollection
from confluent_kafka.admin import (
    AclOperation,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from streamforge_utils.adapters.kafka.admin import Admin, wait_until
from streamforge_utils.adapters.kafka.handle import CALL_S, Handle
from streamforge_utils.adapters.kafka.kafka_connection import Connection, Login, Role
from streamforge_utils.adapters.kafka.kafka_errors import Operation, name_of
from streamforge_utils.adapters.kafka_apply.acl_bindings import binding_of, exactly, rule_of, rules_of
from streamforge_utils.adapters.kafka_apply.apply_plan import (
    Actual,
    ActualTopic,
    Notes,
    RulesStep,
    Step,
    TopicStep,
    UserStep,
    key_of,
    plan,
    unnamed,
    user_of,
)
from streamforge_utils.adapters.kafka_apply.manifest_reader import Rule, Wanted, WantedTopic, WantedUser, read_manifests
from streamforge_utils.adapters.kafka_apply.missing_rights import MissingRights
from streamforge_utils.adapters.kafka_apply.notes import TOPIC as NOTES
from streamforge_utils.adapters.kafka_apply.notes import NotesTopic
from streamforge_utils.adapters.kafka_apply.secrets_folder import SecretsFolder
from streamforge_utils.model.errors import ConfigError, InvalidInput, PermanentError, StreamForgeError
from streamforge_utils.model.secret import Secret
from streamforge_utils.ports.provisioning import Action, Change

ITERATIONS = 4096
"""Of SCRAM; as many as Strimzi's User Operator takes."""

SETTLE_S = 15.0
"""How long the brokers may take to know of a new topic or password."""


class ManifestProvisioner:
    """Implements `Provisioner`. folder: the manifests. secrets: where passwords lie. adopt: take foreign things.

    rotate: the users that are to have another password.
    """

    def __init__(
        self,
        connection: Connection,
        folder: Path,
        *,
        secrets: Path,
        adopt: bool = False,
        rotate: Sequence[str] = (),
    ) -> None:
        self._connection = connection
        self._folder = folder
        self._secrets = SecretsFolder(secrets)
        self._adopt = adopt
        self._rotate = frozenset(rotate)
        self._unknown: list[WantedUser] = []
        self._rights = MissingRights(connection)
        self._may: frozenset[AclOperation] = frozenset()
        self._admin = Admin(connection)
        self._handle: Handle[AdminClient] = self._admin.handle
        self._notes = NotesTopic(connection)
        self._steps: Sequence[Step] = ()
        self._wanted = Wanted()

    def plan(self) -> Sequence[Change]:
        wanted = self._wanted = read_manifests(self._folder)
        self._check_rotated(wanted.users)
        for user in wanted.users:
            if user.given:
                self._secrets.require(user)
        there = set(self._admin.names())
        self._may = self._cluster_rights() if wanted.users else frozenset[AclOperation]()
        ours = frozenset[str]()
        if NOTES in there:
            with self._rights.needing("Read", f"topic {NOTES}"):
                ours = self._notes.read()
        forgotten = unnamed(wanted, ours)
        actual = Actual(
            topics=self._topics([topic for topic in wanted.topics if topic.name in there]),
            passwords=self._passwords(wanted.users),
            rules=self._rules([user.name for user in wanted.users]),
            unnamed=self._those_there(forgotten, there),
        )
        steps = plan(wanted, actual, ours, adopt=self._adopt, rotate=self._rotate)
        self._try_out(steps, there)
        self._rights.check()
        if NOTES not in there and any(step.notes for step in steps):
            told = Change(kind="topic", name=NOTES, action=Action.CREATE, details=("notes what this command made",))
            steps = [Step(told), *steps]
        self._steps = steps
        self._unknown = [
            user
            for user in wanted.users
            if actual.passwords.get(user.name, True) is None
            and not any(isinstance(step.work, UserStep) and step.work.user is user for step in steps)
            and key_of(user) in ours
        ]
        return [step.change for step in steps]

    def notes(self) -> Sequence[str]:
        notes = [f"{name} is skipped: only an operator can make it" for name in self._wanted.skipped]
        for work in (step.work for step in self._steps if isinstance(step.work, UserStep)):
            path, there = self._secrets.path(work.user), self._secrets.read(work.user) is not None
            what = "becomes what is in" if there and not work.fresh else "will be made and written to"
            notes.append(f"user {work.user.name}: its password {what} {path}")
        notes += [
            f"user {user.name}: its password is not in {self._secrets.path(user)} and stays what it is; name the "
            f"folder that has it with --secrets, or have another made with --rotate {user.name}"
            for user in self._unknown
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
            case UserStep(user, fresh):
                self._do_user(user, fresh=fresh)
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
        # What it may do is told with it; to alter a topic is tried out, once it is known what there is to alter.
        asked = client.describe_topics(TopicCollection(named), request_timeout=CALL_S)
        resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in named]
        configs = client.describe_configs(resources, request_timeout=CALL_S)
        for resource in resources:
            name = resource.name
            operation = Operation(what=f"describe topic {name}", topic=name)
            entries: Mapping[str, Any] | None = None
            partitions: Sequence[Any] | None = None
            with self._rights.needing("DescribeConfigs", f"topic {name}"):
                entries = self._handle.wait_for(configs[resource], operation)
            with self._rights.needing("Describe", f"topic {name}"):
                partitions = self._handle.wait_for(asked[name], operation).partitions
            if entries is None or partitions is None:
                continue
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

    def _those_there(self, keys: Notes, topics: set[str]) -> Notes:
        """Which of the noted keys still are something on the brokers."""
        users = sorted({user_of(key) for key in keys if not key.startswith("topic/")})
        found = {key_of(rule) for rule in self._rules(users)} if users else set[str]()
        found |= {f"user/{name}" for name in self._existing(users)}
        found |= {f"topic/{name}" for name in topics}
        return keys & found

    def _existing(self, users: Sequence[str]) -> list[str]:
        """Which of these users there are."""
        found = list[str]()
        # Who is refused is not asked: librdkafka's answer to that brings the process down.
        if not users or AclOperation.DESCRIBE not in self._may:
            return found
        # With names it answers for each; without any, as its type also says, for all at once.
        asked: Any = self._handle.get().describe_user_scram_credentials(list(users), request_timeout=CALL_S)
        for name in users:
            try:
                self._handle.wait_for(asked[name], Operation(what=f"look for user {name}"))
                found.append(name)
            except StreamForgeError as error:
                if name_of(error) != "RESOURCE_NOT_FOUND":
                    raise
        return found

    def _passwords(self, users: Sequence[WantedUser]) -> dict[str, bool | None]:
        existing = set(self._existing([user.name for user in users]))
        found: dict[str, bool | None] = {}
        for user in users:
            if user.name in existing:
                password = self._secrets.read(user)
                found[user.name] = None if password is None else self._lets_in(user, password)
        return found

    def _check_rotated(self, users: Sequence[WantedUser]) -> None:
        known = {user.name: user for user in users}
        for name in sorted(self._rotate):
            if name not in known:
                raise InvalidInput("--rotate", f"--rotate {name}: no manifest describes this user")
            if known[name].given:
                raise InvalidInput(
                    "--rotate",
                    f"--rotate {name}: its manifest says that its password is given: write another to "
                    f"{self._secrets.path(known[name])}",
                )

    def _lets_in(self, user: WantedUser, password: Secret) -> bool:
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

    def _rules(self, users: Sequence[str]) -> frozenset[Rule]:
        found = set[Rule]()
        if users and AclOperation.ALTER in self._may:
            self._require_authorizer()
        for name in users if AclOperation.DESCRIBE in self._may else ():
            asked = self._handle.get().describe_acls(rules_of(f"User:{name}"), request_timeout=CALL_S)
            bindings = self._handle.wait_for(asked, Operation(what=f"look for the ACLs of {name}"))
            found |= {rule_of(binding) for binding in bindings}
        return frozenset(found)

    def _cluster_rights(self) -> frozenset[AclOperation]:
        """What this user may do to the cluster: users and rules are the cluster's."""
        asked = self._handle.get().describe_cluster(include_authorized_operations=True, request_timeout=CALL_S)
        found = self._handle.wait_for(asked, Operation(what="describe the cluster"))
        may = frozenset(found.authorized_operations or ())
        wanted = {"Describe": AclOperation.DESCRIBE, "Alter": AclOperation.ALTER}
        self._rights.lacking += [f"{name} on the cluster" for name, one in wanted.items() if one not in may]
        return may

    def _try_out(self, steps: Sequence[Step], there: set[str]) -> None:
        """Ask the brokers whether this user may do what the steps do to topics; nothing is changed."""
        client = self._handle.get()
        making = [step.work.topic.name for step in steps if isinstance(step.work, TopicStep) and step.work.create]
        making = [name for name in making if name not in there]  # else it may be seen, and not looked into
        if NOTES not in there and any(step.notes for step in steps):
            making.append(NOTES)
        for name in making:
            # Without its settings: whether the brokers take those is another matter.
            asked: Any = client.create_topics([NewTopic(name, 1)], validate_only=True, request_timeout=CALL_S)[name]
            self._rights.ask("Create", f"topic {name}", asked, self._handle)
        for step in steps:
            work = step.work
            if not isinstance(work, TopicStep) or work.create:
                continue
            if work.config:
                resource = self._altering(work)
                altered = client.incremental_alter_configs([resource], validate_only=True, request_timeout=CALL_S)
                self._rights.ask("AlterConfigs", f"topic {work.topic.name}", altered[resource], self._handle)
            if work.partitions is not None:
                more = [NewPartitions(work.topic.name, work.partitions)]
                grown = client.create_partitions(more, validate_only=True, request_timeout=CALL_S)
                self._rights.ask("Alter", f"topic {work.topic.name}", grown[work.topic.name], self._handle)
        if NOTES in there:
            described = client.describe_topics(
                TopicCollection([NOTES]), include_authorized_operations=True, request_timeout=CALL_S
            )
            with self._rights.needing("Describe", f"topic {NOTES}"):
                found = self._handle.wait_for(described[NOTES], Operation(what=f"describe topic {NOTES}", topic=NOTES))
                if AclOperation.WRITE not in (found.authorized_operations or ()):
                    self._rights.lacking.append(f"Write on topic {NOTES}")

    @staticmethod
    def _altering(step: TopicStep) -> ConfigResource:
        entries = [
            ConfigEntry(
                name,
                value,
                incremental_operation=AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET,
            )
            for name, value in step.config.items()
        ]
        return ConfigResource(ConfigResource.Type.TOPIC, step.topic.name, incremental_configs=entries)

    def _require_authorizer(self) -> None:
        """Raises ConfigError where rules would protect nothing.

        Asked what rules there are, such a broker says none; only asked to remove one does it tell. There is none such.
        """
        nothing = exactly(Rule(f"nobody-{uuid.uuid4()}", "topic", "literal", NOTES, "ClusterAction", "deny"))
        asked = self._handle.get().delete_acls([nothing], request_timeout=CALL_S)[nothing]
        self._handle.wait_for(asked, Operation(what="make ACLs"))

    # What is done

    def _create(self, new: NewTopic) -> None:
        operation = Operation(what=f"create topic {new.topic}", topic=new.topic, needs="create")
        asked = self._handle.get().create_topics([new], request_timeout=CALL_S)
        self._handle.wait_for(asked[new.topic], operation)
        late = f"topic {new.topic} is not known to all brokers"
        wait_until(lambda: new.topic in self._admin.names(), SETTLE_S, late)

    def _do_topic(self, step: TopicStep) -> None:
        topic = step.topic
        if step.create:
            # -1: as many as the brokers' settings say.
            self._create(NewTopic(topic.name, topic.partitions or -1, topic.replicas or -1, config=topic.config))
            return
        client = self._handle.get()
        if step.config:
            operation = Operation(what=f"change topic {topic.name}", topic=topic.name, needs="alter")
            resource = self._altering(step)
            altered = client.incremental_alter_configs([resource], request_timeout=CALL_S)
            self._handle.wait_for(altered[resource], operation)
        if step.partitions is not None:
            operation = Operation(what=f"add partitions to topic {topic.name}", topic=topic.name, needs="alter")
            grown = client.create_partitions([NewPartitions(topic.name, step.partitions)], request_timeout=CALL_S)
            self._handle.wait_for(grown[topic.name], operation)

    def _do_user(self, user: WantedUser, *, fresh: bool) -> None:
        password = self._secrets.renew(user) if fresh else self._secrets.require(user)
        change = UserScramCredentialUpsertion(
            user.name,
            ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, ITERATIONS),
            password.reveal().encode(),
        )
        asked = self._handle.get().alter_user_scram_credentials([change], request_timeout=CALL_S)
        self._handle.wait_for(asked[user.name], Operation(what=f"give user {user.name} its password"))
        wait_until(lambda: self._lets_in(user, password), SETTLE_S, f"user {user.name} was made and cannot log in")

    def _do_rules(self, add: Sequence[Rule], remove: Sequence[Rule]) -> None:
        client = self._handle.get()
        if add:
            bindings = [binding_of(rule) for rule in add]
            made = client.create_acls(bindings, request_timeout=CALL_S)
            for binding in bindings:
                self._handle.wait_for(made[binding], Operation(what=f"add an ACL for {binding.principal}"))
        if remove:
            filters = [exactly(rule) for rule in remove]
            gone = client.delete_acls(filters, request_timeout=CALL_S)
            for one in filters:
                self._handle.wait_for(gone[one], Operation(what=f"remove an ACL of {one.principal}"))
