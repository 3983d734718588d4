"""Applies Strimzi's manifests of topics and users by Kafka's Admin API, where there is no operator."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from streamforge_utils.adapters.kafka.kafka_client import CALL_S, Handle
from streamforge_utils.adapters.kafka.kafka_connection import Connection, Login, Role
from streamforge_utils.adapters.kafka.kafka_errors import Operation
from streamforge_utils.adapters.kafka.topics import Admin, wait_until
from streamforge_utils.adapters.kafka_apply.apply_plan import (
    Actual,
    RulesStep,
    Step,
    TopicStep,
    UserStep,
    key_of,
    plan,
    unnamed,
)
from streamforge_utils.adapters.kafka_apply.apply_records import NOTES, NotesTopic, SecretsFolder
from streamforge_utils.adapters.kafka_apply.broker_state import BrokerState, binding_of, exactly
from streamforge_utils.adapters.kafka_apply.manifest_reader import Rule, Wanted, WantedUser, read_manifests
from streamforge_utils.model.errors import ConfigError, InvalidInput, PermanentError
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
        self._admin = Admin(connection)
        self._brokers = BrokerState(self._admin)
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
        ours = self._notes.read() if NOTES in there else frozenset[str]()
        forgotten = unnamed(wanted, ours)
        if wanted.users or any(not key.startswith("topic/") for key in forgotten):
            self._brokers.check_rights()
        actual = Actual(
            topics=self._brokers.topics([topic.name for topic in wanted.topics if topic.name in there]),
            passwords=self._passwords(wanted.users),
            rules=self._brokers.rules([user.name for user in wanted.users]),
            unnamed=self._brokers.those_there(forgotten, there),
        )
        steps = plan(wanted, actual, ours, adopt=self._adopt, rotate=self._rotate)
        if NOTES not in there and any(step.notes for step in steps):
            notes = Change(kind="topic", name=NOTES, action=Action.CREATE, details=("notes what this command made",))
            steps = [Step(notes), *steps]
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

    def _passwords(self, users: Sequence[WantedUser]) -> dict[str, bool | None]:
        existing = self._brokers.users([user.name for user in users])
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
        """Whether the brokers take this password; they never show it."""
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
            operation = Operation(what=f"change topic {topic.name}", topic=topic.name, needs="alter the configs of")
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
