"""Rules of manifests as the Admin API's ACL bindings, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from streamforge_utils.adapters.kafka_apply.manifest_reader import Rule

_RESOURCES = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "cluster": ResourceType.BROKER,
    "transactionalId": ResourceType.TRANSACTIONAL_ID,
}
_PATTERNS = {"literal": ResourcePatternType.LITERAL, "prefix": ResourcePatternType.PREFIXED}
_PERMISSIONS = {"allow": AclPermissionType.ALLOW, "deny": AclPermissionType.DENY}
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")


def rules_of(principal: str) -> AclBindingFilter:
    """What finds all rules of one who logs in, such as `User:somebody`."""
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
