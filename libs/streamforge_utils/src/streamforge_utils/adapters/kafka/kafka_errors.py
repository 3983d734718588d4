"""What librdkafka and the brokers say, sorted into what helps: time, another setting, or nothing.

Every error has a name (`KafkaError.name()`); what goes wrong while connecting has only a text, and is told by a piece
of it. A sentence names the topic, the group, the user or the setting that is meant.
"""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec
from confluent_kafka import KafkaException

from streamforge_utils.adapters.kafka.kafka_connection import Connection, Role
from streamforge_utils.model.errors import ConfigError, PermanentError, RetryableError, StreamForgeError


class Helps(StrEnum):
    """What helps against an error."""

    TIME = "time"
    SETTING = "setting"
    NOTHING = "nothing"


_CLASSES: dict[Helps, type[StreamForgeError]] = {
    Helps.TIME: RetryableError,
    Helps.SETTING: ConfigError,
    Helps.NOTHING: PermanentError,
}


class Rule(msgspec.Struct, frozen=True):
    """How one error is told. says: may hold {what} {topic} {group} {user} {user_setting}
    {password} {servers} {ca} {ca_told} {detail}.

    sure: once is enough; else it is a guess, told when it came again and again without a connection. A network that
    is down looks the same, so that time may help against what is guessed.
    """

    helps: Helps
    says: str
    sure: bool = True


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What was being done when an error came. needs: the operation that an ACL must allow on the topic."""

    what: str
    topic: str = ""
    group: str = ""
    needs: str = "describe"


_PASSWORD = Rule(
    Helps.SETTING,
    "the broker at {servers} does not know the user {user}, or knows another password: check {password}",
)
UNREACHABLE = Rule(
    Helps.TIME, "no broker answers at {servers} ({detail}): is it running, and is KAFKA_BOOTSTRAP_SERVERS right?"
)
_DOWN = Rule(Helps.TIME, "{what}: the brokers at {servers} do not answer ({detail}); try again")
_LOST = Rule(
    Helps.TIME,
    "{what}: the partition may belong to another member of the group {group} by now ({detail}); if so, it is read "
    "again there",
)
_SHARING = Rule(
    Helps.TIME, "{what}: the group {group} is sharing out its partitions again ({detail}); try again in a moment"
)
_NO_TLS = Rule(
    Helps.SETTING,
    "the broker at {servers} does not speak TLS on this port: take its TLS port in KAFKA_BOOTSTRAP_SERVERS, or do "
    "without {ca}",
)
_NO_TOPIC = Rule(Helps.NOTHING, "there is no topic {topic} (any more); create it before using it")
_TOO_LARGE = Rule(Helps.NOTHING, "{what}: the message is larger than topic {topic} takes ({detail}); send less in one")

_UNREADABLE = Rule(
    Helps.NOTHING,
    "{what}: a message in it cannot be read ({detail}): it was damaged, or is of a kind that this client does not know",
)

NAMED: dict[str, Rule] = {
    # Who may what.
    "_AUTHENTICATION": _PASSWORD,
    "SASL_AUTHENTICATION_FAILED": _PASSWORD,
    "UNSUPPORTED_SASL_MECHANISM": Rule(
        Helps.SETTING,
        "the broker at {servers} has another SASL mechanism ({detail}): check STREAMFORGE_KAFKA_SASL_MECHANISM",
    ),
    "TOPIC_AUTHORIZATION_FAILED": Rule(
        Helps.SETTING,
        "the user {user} has no ACL to {needs} topic {topic}: add one, or set {user_setting} to a user that has it",
    ),
    "GROUP_AUTHORIZATION_FAILED": Rule(
        Helps.SETTING,
        "the user {user} has no ACL to read with group {group}: add one, or set {user_setting} to a user that has it",
    ),
    "CLUSTER_AUTHORIZATION_FAILED": Rule(
        Helps.SETTING,
        "{what}: the user {user} has no ACL for this on the cluster: add one, or set {user_setting} to a user that "
        "has it",
    ),
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED": Rule(
        Helps.SETTING, "{what}: the user {user} has no ACL for transactions: add one, or set {user_setting}"
    ),
    "SECURITY_DISABLED": Rule(Helps.SETTING, "{what}: the broker has no authorizer ({detail})"),
    # The way there.
    "_RESOLVE": Rule(
        Helps.TIME, "the host in KAFKA_BOOTSTRAP_SERVERS ({servers}) is not known ({detail}): is it spelled right?"
    ),
    "_ALL_BROKERS_DOWN": UNREACHABLE,
    "_TRANSPORT": _DOWN,
    "_TIMED_OUT": _DOWN,
    "_TIMED_OUT_QUEUE": _DOWN,
    "_MSG_TIMED_OUT": _DOWN,
    "_WAIT_COORD": _DOWN,
    "_NODE_UPDATE": _DOWN,
    "_PURGE_QUEUE": _DOWN,
    "_PURGE_INFLIGHT": _DOWN,
    "_STATE": _DOWN,
    "_DESTROY": _DOWN,
    "_FATAL": _DOWN,
    "_SSL": Rule(Helps.SETTING, "TLS with the broker at {servers} does not work ({detail}): check {ca}"),
    # Topics and messages.
    "UNKNOWN_TOPIC_OR_PART": _NO_TOPIC,
    "_UNKNOWN_TOPIC": _NO_TOPIC,
    "_UNKNOWN_PARTITION": _NO_TOPIC,
    "UNKNOWN_TOPIC_ID": _NO_TOPIC,
    "INCONSISTENT_TOPIC_ID": _NO_TOPIC,
    "MSG_SIZE_TOO_LARGE": _TOO_LARGE,
    "RECORD_LIST_TOO_LARGE": _TOO_LARGE,
    "INVALID_MSG_SIZE": _TOO_LARGE,
    "INVALID_MSG": Rule(Helps.NOTHING, "{what}: a message is damaged, or topic {topic} refuses it ({detail})"),
    "_BAD_MSG": _UNREADABLE,
    "_BAD_COMPRESSION": _UNREADABLE,
    "_UNDERFLOW": _UNREADABLE,
    "_NOT_IMPLEMENTED": _UNREADABLE,
    "INVALID_RECORD": Rule(Helps.NOTHING, "{what}: topic {topic} refuses the message ({detail})"),
    "TOPIC_EXCEPTION": Rule(Helps.NOTHING, "{topic!r} is no legal topic name ({detail})"),
    "INVALID_CONFIG": Rule(Helps.NOTHING, "{what}: the broker refuses what topic {topic} is asked to be ({detail})"),
    "INVALID_PARTITIONS": Rule(Helps.NOTHING, "{what}: topic {topic}: {detail}"),
    "INVALID_REPLICATION_FACTOR": Rule(Helps.TIME, "{what}: too few brokers for topic {topic} ({detail}); try again"),
    "POLICY_VIOLATION": Rule(Helps.NOTHING, "{what}: a policy of the cluster forbids topic {topic} ({detail})"),
    "TOPIC_DELETION_DISABLED": Rule(Helps.SETTING, "{what}: the broker deletes no topics: set delete.topic.enable"),
    # Groups.
    "ILLEGAL_GENERATION": _LOST,
    "UNKNOWN_MEMBER_ID": _LOST,
    "FENCED_INSTANCE_ID": _LOST,
    "REBALANCE_IN_PROGRESS": _SHARING,
    "FENCED_MEMBER_EPOCH": _LOST,
    "STALE_MEMBER_EPOCH": _LOST,
    "_ASSIGNMENT_LOST": _LOST,
    "_MAX_POLL_EXCEEDED": _LOST,
    "NON_EMPTY_GROUP": _LOST,
    "INVALID_GROUP_ID": Rule(Helps.NOTHING, "{group!r} is no legal name of a consumer group"),
    "GROUP_MAX_SIZE_REACHED": Rule(Helps.TIME, "the group {group} takes no more members; try again"),
}
"""By the error's name. What is not here is retried: time helps against most of it, and a limit ends the rest."""

_TEXTS: tuple[tuple[str, Rule], ...] = (
    # A connection that ends in the middle of a login says nothing about the login.
    (r"failed: Local: |connection reset by peer", UNREACHABLE),
    (
        r"hostname mismatch|IP address mismatch",
        Rule(
            Helps.SETTING,
            "the certificate of the broker at {servers} is made out to another host ({detail}): use a name in "
            "KAFKA_BOOTSTRAP_SERVERS that the certificate has",
        ),
    ),
    (r"wrong version number", _NO_TLS),
    # A client's guess when it is hung up on, which a broken network does too.
    (r"connecting to a PLAINTEXT broker listener", msgspec.structs.replace(_NO_TLS, helps=Helps.TIME, sure=False)),
    (
        r"certificate has expired",
        Rule(Helps.TIME, "the certificate of the broker at {servers} has expired: it must be renewed there"),
    ),
    (
        r"certificate verify failed",
        Rule(
            Helps.SETTING,
            "the certificate of the broker at {servers} is not signed by {ca_told}: name the CA of this cluster",
        ),
    ),
    (
        r"mechanism handshake failed: Broker: Request not valid",
        Rule(
            Helps.SETTING,
            "the broker at {servers} asks for no login on this port: take another port in KAFKA_BOOTSTRAP_SERVERS, or "
            "do without {user_setting}",
        ),
    ),
    (r"mechanism handshake failed", NAMED["UNSUPPORTED_SASL_MECHANISM"]),
    (r"SASL authentication error", _PASSWORD),
    (
        r"in state APIVERSION_QUERY",
        Rule(
            Helps.TIME,
            "the broker at {servers} hangs up on plaintext, as one that speaks TLS does: set KAFKA_CA_PATH, or take "
            "its plaintext port in KAFKA_BOOTSTRAP_SERVERS",
            sure=False,
        ),
    ),
    (
        r"in state UP",
        Rule(
            Helps.TIME,
            "the broker at {servers} hangs up at the first request, as one that asks for a login does: set KAFKA_USER "
            "and KAFKA_PASSWORD",
            sure=False,
        ),
    ),
    (r"Connection refused|Connection reset|timed out", UNREACHABLE),
    (r"Failed to resolve", NAMED["_RESOLVE"]),
)
"""What goes wrong on the way to a broker, by its text; the first that fits."""

TEXTS: tuple[tuple[re.Pattern[str], Rule], ...] = tuple((re.compile(text), rule) for text, rule in _TEXTS)

LOST = frozenset(name for name, rule in NAMED.items() if rule in (_LOST, _SHARING))
"""Errors that say that a partition may belong to another member now, or soon. Who owns what, the rebalance says."""

GONE = frozenset(name for name, rule in NAMED.items() if rule is _NO_TOPIC)
"""Errors that say that a topic is not there."""

UNSETTLED = frozenset(
    {
        "NOT_LEADER_FOR_PARTITION",
        "LEADER_NOT_AVAILABLE",
        "FENCED_LEADER_EPOCH",
        "UNKNOWN_LEADER_EPOCH",
        "COORDINATOR_LOAD_IN_PROGRESS",
        "COORDINATOR_NOT_AVAILABLE",
        "NOT_COORDINATOR",
    }
)
"""A broker that was just made responsible does not know it yet."""


PASSING = UNSETTLED | {
    "REQUEST_TIMED_OUT",
    "BROKER_NOT_AVAILABLE",
    "REPLICA_NOT_AVAILABLE",
    "NETWORK_EXCEPTION",
    "KAFKA_STORAGE_ERROR",
    "OFFSET_NOT_AVAILABLE",
    "UNSTABLE_OFFSET_COMMIT",
    "FETCH_SESSION_ID_NOT_FOUND",
    "INVALID_FETCH_SESSION_EPOCH",
    "THROTTLING_QUOTA_EXCEEDED",
}
"""A client that reads tries again by itself."""


def name_of(error: BaseException) -> str:
    """librdkafka's name of the error that caused this one; empty where another did."""
    cause = error.__cause__
    return str(cause.args[0].name()) if isinstance(cause, KafkaException) else ""


def is_passing(name: str) -> bool:
    """Whether a client that reads goes on by itself after the error `name`; not after one that is not known here."""
    rule = NAMED.get(name)
    return name in PASSING or (rule is not None and rule.helps is Helps.TIME)


VAGUE = frozenset(name for name, rule in NAMED.items() if rule in (_DOWN, UNREACHABLE))
"""Errors of a call that ended because its connection did; why, was said elsewhere."""

_DETAIL_CHARACTERS = 200
_NOISE = re.compile(r"^(\S+//)?\S+/(bootstrap|\d+): |\(after \d+ms in state \w+.*\)$|error:[0-9A-F]+:")


def rule_of_text(text: str) -> Rule | None:
    """The rule for what a connection failed with, if it is known."""
    return next((rule for pattern, rule in TEXTS if pattern.search(text)), None)


def told(rule: Rule, about: About, connection: Connection, role: Role, detail: str) -> StreamForgeError:
    """The error that a person reads."""
    login = connection.login(role)
    ca = connection.ca_setting if connection.ca_path is not None else "KAFKA_CA_PATH"
    text = rule.says.format(
        what=about.what,
        topic=about.topic,
        group=about.group,
        needs=about.needs,
        user=login.user if login is not None else "(nobody: KAFKA_USER is not set)",
        user_setting=login.user_setting if login is not None else "KAFKA_USER",
        password=f"{login.user_setting} and {login.password_setting}" if login is not None else "KAFKA_PASSWORD",
        servers=connection.bootstrap_servers,
        ca=ca,
        ca_told=f"the CA in {ca} ({connection.ca_path})"
        if connection.ca_path
        else f"a CA of this system ({ca} is not set)",
        detail=_NOISE.sub("", detail).strip()[:_DETAIL_CHARACTERS],
    )
    return _CLASSES[rule.helps](text)


def error_of(
    name: str, detail: str, about: About, connection: Connection, role: Role, *, because: StreamForgeError | None = None
) -> StreamForgeError:
    """The error for librdkafka's error `name`. because: what is known of the connection, where the error is vague."""
    if name in VAGUE and because is not None:
        return because
    if name == "CLUSTER_AUTHORIZATION_FAILED" and about.needs == "write":
        name = "TOPIC_AUTHORIZATION_FAILED"  # who may write to no topic at all is not even given a producer's id
    rule = rule_of_text(detail) if name == "_AUTHENTICATION" else NAMED.get(name)
    rule = rule or NAMED.get(name) or Rule(Helps.TIME, "{what}: {detail}; try again")
    return told(rule, about, connection, role, detail)
