"""Strimzi's manifests of topics and users, read without Strimzi."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from streamforge_utils.model.errors import InvalidInput

API_VERSION = "kafka.strimzi.io/v1"
OPERATORS_ONLY = frozenset({"Kafka", "KafkaNodePool"})
"""Kinds of which only an operator can make something."""


class SecretKey(msgspec.Struct, frozen=True):
    """Where a password lies: a key of a Secret."""

    name: str
    key: str = "password"


class Rule(msgspec.Struct, frozen=True, order=True):
    """One right of one user. pattern: literal or prefix. permission: allow or deny."""

    user: str
    resource: str
    pattern: str
    name: str
    operation: str
    permission: str = "allow"
    host: str = "*"


class WantedTopic(msgspec.Struct, frozen=True):
    """A topic. partitions, replicas: None leaves them to the brokers."""

    name: str
    partitions: int | None
    replicas: int | None
    config: dict[str, str]
    source: str


class WantedUser(msgspec.Struct, frozen=True):
    """A user with SCRAM-SHA-512. given: its password must be there already; else one may be made."""

    name: str
    secret: SecretKey
    given: bool
    rules: frozenset[Rule]
    source: str


class Wanted(msgspec.Struct, frozen=True):
    """All of a folder. skipped: objects that only an operator can make something of."""

    topics: tuple[WantedTopic, ...] = ()
    users: tuple[WantedUser, ...] = ()
    skipped: tuple[str, ...] = ()


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    pass


class _TopicSpec(_Strict):
    topicName: str | None = None
    partitions: int | None = None
    replicas: int | None = None
    config: dict[str, bool | int | float | str] = {}


class _KeyRef(_Strict):
    name: str
    key: str
    optional: bool = False


class _ValueFrom(_Strict):
    secretKeyRef: _KeyRef


class _Password(_Strict):
    valueFrom: _ValueFrom


class _Authentication(_Strict):
    type: str
    password: _Password | None = None


class _Resource(_Strict):
    type: Literal["topic", "group", "cluster", "transactionalId"]
    name: str | None = None
    patternType: Literal["literal", "prefix"] = "literal"


class _Acl(_Strict):
    resource: _Resource
    operations: list[
        Literal[
            "Read",
            "Write",
            "Create",
            "Delete",
            "Alter",
            "Describe",
            "ClusterAction",
            "AlterConfigs",
            "DescribeConfigs",
            "IdempotentWrite",
            "All",
        ]
    ]
    type: Literal["allow", "deny"] = "allow"
    host: str = "*"


class _Authorization(_Strict):
    type: Literal["simple"]
    acls: list[_Acl]


class _UserSpec(_Strict):
    authentication: _Authentication | None = None
    authorization: _Authorization | None = None
    template: dict[str, Any] | None = None


class _Metadata(msgspec.Struct):
    name: str


class _Object(msgspec.Struct):
    apiVersion: str
    kind: str
    metadata: _Metadata
    spec: dict[str, Any]


def read_manifests(folder: Path) -> Wanted:
    """Every `*.yaml` and `*.yml` of the folder, not of those in it. Raises InvalidInput, naming file and field."""
    files = sorted(path for path in folder.glob("*") if path.suffix in (".yaml", ".yml") and path.is_file())
    if not files:
        raise InvalidInput("DIR", f"there is no *.yaml in {folder}: name the folder that holds the manifests")
    topics: dict[str, WantedTopic] = {}
    users: dict[str, WantedUser] = {}
    skipped = list[str]()
    for path in files:
        for found in _objects(path):
            where = f"{path.name}: {found.kind} {found.metadata.name}"
            if found.apiVersion == API_VERSION and found.kind == "KafkaTopic":
                topic = _topic(found, where)
                _only(topics, topic.name, topic.source)
                topics[topic.name] = topic
            elif found.apiVersion == API_VERSION and found.kind == "KafkaUser":
                user = _user(found, where)
                _only(users, user.name, user.source)
                users[user.name] = user
            elif found.apiVersion == API_VERSION and found.kind in OPERATORS_ONLY:
                skipped.append(f"{found.kind} {found.metadata.name}")
            else:
                raise InvalidInput("DIR", f"{where}: {found.apiVersion} {found.kind} is not known here")
    return Wanted(tuple(topics.values()), tuple(users.values()), tuple(skipped))


def _objects(path: Path) -> list[_Object]:
    try:
        found = [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one is not None]
    except OSError as error:
        raise InvalidInput("DIR", f"{path} cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput("DIR", f"{path} is no YAML: {' '.join(str(error).split())[:300]}") from error
    return [_convert(one, _Object, path.name) for one in found]


def _convert(found: object, wanted: type[Any], where: str) -> Any:
    try:
        return msgspec.convert(found, wanted)
    except msgspec.ValidationError as error:
        raise InvalidInput("DIR", f"{where}: {error}") from error


def _only(known: dict[str, Any], name: str, source: str) -> None:
    if name in known:
        raise InvalidInput("DIR", f"{source}: {name} is described before, in {known[name].source}")


def _topic(found: _Object, where: str) -> WantedTopic:
    spec: _TopicSpec = _convert(found.spec, _TopicSpec, f"{where}: spec")
    for name, value in (("partitions", spec.partitions), ("replicas", spec.replicas)):
        if value is not None and value < 1:
            raise InvalidInput("DIR", f"{where}: {name} is {value}, it must be at least 1")
    config = {name: _text(value) for name, value in spec.config.items()}
    return WantedTopic(spec.topicName or found.metadata.name, spec.partitions, spec.replicas, config, where)


def _text(value: bool | int | float | str) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _user(found: _Object, where: str) -> WantedUser:
    spec: _UserSpec = _convert(found.spec, _UserSpec, f"{where}: spec")
    name = found.metadata.name
    told = spec.authentication
    if told is None or told.type != "scram-sha-512":
        raise InvalidInput("DIR", f"{where}: only users with authentication type scram-sha-512 can be made here")
    secret = SecretKey(name)
    if told.password is not None:
        reference = told.password.valueFrom.secretKeyRef
        secret = SecretKey(reference.name, reference.key)
    rules = set[Rule]()
    for acl in spec.authorization.acls if spec.authorization else []:
        if acl.resource.type != "cluster" and not acl.resource.name:
            raise InvalidInput("DIR", f"{where}: a rule for a {acl.resource.type} names none")
        # What Kafka calls the one cluster that it knows.
        resource_name = "kafka-cluster" if acl.resource.type == "cluster" else str(acl.resource.name)
        rules |= {
            Rule(name, acl.resource.type, acl.resource.patternType, resource_name, operation, acl.type, acl.host)
            for operation in acl.operations
        }
    return WantedUser(name, secret, told.password is not None, frozenset(rules), where)
