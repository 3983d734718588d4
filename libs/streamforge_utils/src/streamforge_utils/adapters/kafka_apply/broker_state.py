"""What the brokers have of topics, users and rules; rules of manifests as the Admin API's ACL bindings, and back."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import TopicCollection
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ConfigResource,
    ConfigSource,
    ResourcePatternType,
    ResourceType,
)

from streamforge_utils.adapters.kafka.kafka_client import CALL_S, Handle
from streamforge_utils.adapters.kafka.kafka_connection import Role
from streamforge_utils.adapters.kafka.kafka_errors import Operation, name_of
from streamforge_utils.adapters.kafka.topics import Admin
from streamforge_utils.adapters.kafka_apply.apply_plan import ActualTopic, Notes, key_of, user_of
from streamforge_utils.adapters.kafka_apply.manifest_reader import Rule
from streamforge_utils.model.errors import ConfigError, StreamForgeError

_RESOURCES = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "cluster": ResourceType.BROKER,
    "transactionalId": ResourceType.TRANSACTIONAL_ID,
}
_PATTERNS = {"literal": ResourcePatternType.LITERAL, "prefix": ResourcePatternType.PREFIXED}
_PERMISSIONS = {"allow": AclPermissionType.ALLOW, "deny": AclPermissionType.DENY}
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")
_NEEDED = {"Describe": AclOperation.DESCRIBE, "Alter": AclOperation.ALTER}
"""On the cluster, to which users and rules belong."""


class BrokerState:
    """Asks the brokers. Every method blocks, and raises ConfigError or RetryableError."""

    def __init__(self, admin: Admin) -> None:
        self._handle: Handle[AdminClient] = admin.handle

    def topics(self, names: Sequence[str]) -> dict[str, ActualTopic]:
        """The topics of these names; each of them must exist."""
        if not names:
            return {}
        client = self._handle.get()
        asked = client.describe_topics(TopicCollection(list(names)), request_timeout=CALL_S)
        resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
        configs = client.describe_configs(resources, request_timeout=CALL_S)
        found: dict[str, ActualTopic] = {}
        for resource in resources:
            name = resource.name
            operation = Operation(what=f"describe topic {name}", topic=name)
            reading = Operation(what=f"describe topic {name}", topic=name, needs="describe the configs of")
            entries: Mapping[str, Any] = self._handle.wait_for(configs[resource], reading)
            partitions: Sequence[Any] = self._handle.wait_for(asked[name], operation).partitions
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

    def users(self, names: Sequence[str]) -> frozenset[str]:
        """Which of these users there are."""
        if not names:
            return frozenset()
        # With names it answers for each; without any, as its type also says, for all at once.
        asked: Any = self._handle.get().describe_user_scram_credentials(list(names), request_timeout=CALL_S)
        return frozenset(name for name in names if self._is_user(name, asked[name]))

    def rules(self, users: Sequence[str]) -> frozenset[Rule]:
        """The rules of these users."""
        found = set[Rule]()
        for name in users:
            asked = self._handle.get().describe_acls(rules_of(f"User:{name}"), request_timeout=CALL_S)
            bindings = self._handle.wait_for(asked, Operation(what=f"look for the ACLs of {name}"))
            found |= {rule_of(binding) for binding in bindings}
        return frozenset(found)

    def those_there(self, keys: Notes, topics: set[str]) -> Notes:
        """Which of the noted keys still are something on the brokers. topics: all that there are."""
        users = sorted({user_of(key) for key in keys if not key.startswith("topic/")})
        found = {key_of(rule) for rule in self.rules(users)}
        found |= {f"user/{name}" for name in self.users(users)}
        found |= {f"topic/{name}" for name in topics}
        return keys & found

    def check_rights(self) -> None:
        """Raises ConfigError where users and rules may not be asked for or changed, or rules would protect nothing.

        A user without these rights must not ask: librdkafka's answer to the refusal brings the process down.
        """
        asked = self._handle.get().describe_cluster(include_authorized_operations=True, request_timeout=CALL_S)
        found = self._handle.wait_for(asked, Operation(what="describe the cluster"))
        may = found.authorized_operations or ()
        if lacking := [name for name, operation in _NEEDED.items() if operation not in may]:
            login = self._handle.connection.login(Role.ADMIN)
            user, setting = (login.user, login.user_setting) if login is not None else ("(nobody)", "KAFKA_USER")
            raise ConfigError(
                f"the user {user} has no ACL to {' and '.join(lacking)} on the cluster, which users and their ACLs "
                f"need: add one, or set {setting} to a user that has it"
            )
        # Asked for its rules, a broker without an authorizer answers with none; only a removal is refused.
        nothing = exactly(Rule(f"nobody-{uuid.uuid4()}", "topic", "literal", "nothing", "ClusterAction", "deny"))
        removed = self._handle.get().delete_acls([nothing], request_timeout=CALL_S)[nothing]
        self._handle.wait_for(removed, Operation(what="make ACLs"))

    def _is_user(self, name: str, asked: Any) -> bool:
        try:
            self._handle.wait_for(asked, Operation(what=f"look for user {name}"))
        except StreamForgeError as error:
            if name_of(error) != "RESOURCE_NOT_FOUND":
                raise
            return False
        return True


def rules_of(principal: str) -> AclBindingFilter:
    """The filter for all rules of a principal, such as `User:somebody`."""
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
        AclOperation[_WORDS.sub("_", rule.operation).upper()],
        _PERMISSIONS[rule.permission],
    )


def binding_of(rule: Rule) -> AclBinding:
    """The rule as it is made."""
    return AclBinding(*_parts(rule))


def exactly(rule: Rule) -> AclBindingFilter:
    """What finds the rule and no other."""
    return AclBindingFilter(*_parts(rule))


def rule_of(binding: AclBinding) -> Rule:
    """The rule that the brokers have."""

    operation: Any = binding.operation

    def word(table: Mapping[str, object], value: Any) -> str:
        return next((name for name, one in table.items() if one == value), str(value.name).lower())

    return Rule(
        user=binding.principal.removeprefix("User:"),
        resource=word(_RESOURCES, binding.restype),
        pattern=word(_PATTERNS, binding.resource_pattern_type),
        name=binding.name,
        operation=operation.name.title().replace("_", ""),
        permission=word(_PERMISSIONS, binding.permission_type),
        host=binding.host,
    )
