"""librdkafka's and the brokers' errors as ours: each is retryable, a matter of settings, or permanent.

Every error has a name (`KafkaError.name()`); a failure to connect has only a text, and is recognised by a part of it. A
message names the topic, the group, the user or the setting that is concerned.
"""

from __future__ import annotations

import re

import msgspec
from confluent_kafka import KafkaException

from streamforge_utils.adapters.kafka.kafka_connection import Connection, Role
from streamforge_utils.model.errors import ConfigError, PermanentError, RetryableError, StreamForgeError, TooLarge


class ErrorRule(msgspec.Struct, frozen=True):
    """How one error is reported. error: RetryableError where waiting may help, ConfigError where another setting does.

    text: may hold {what} {topic} {group} {needs} {user} {user_setting} {password} {servers} {ca} {ca_source} {detail}.
    certain: one occurrence is enough; else it is a guess, reported once it was repeated without any connection, and
    retryable, as a network that is down looks the same.
    """

    error: type[StreamForgeError]
    text: str
    certain: bool = True


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """What was being done when an error came. needs: the operation that an ACL must allow on the topic."""

    what: str
    topic: str = ""
    group: str = ""
    needs: str = "describe"


_PASSWORD = ErrorRule(
    ConfigError,
    "the broker at {servers} does not know the user {user}, or knows another password: check {password}",
)
UNREACHABLE = ErrorRule(
    RetryableError, "no broker answers at {servers} ({detail}): is it running, and is KAFKA_BOOTSTRAP_SERVERS right?"
)
_DOWN = ErrorRule(RetryableError, "{what}: the brokers at {servers} do not answer ({detail}); try again")
_RESOLVE = ErrorRule(
    RetryableError, "the host in KAFKA_BOOTSTRAP_SERVERS ({servers}) is not known ({detail}): is it spelled right?"
)
_MECHANISM = ErrorRule(
    ConfigError, "the broker at {servers} has another SASL mechanism ({detail}): check STREAMFORGE_KAFKA_SASL_MECHANISM"
)
_LOST = ErrorRule(
    RetryableError,
    "{what}: the partition may belong to another member of the group {group} by now ({detail}); if so, it is read "
    "again there",
)
_REBALANCING = ErrorRule(
    RetryableError, "{what}: the group {group} is sharing out its partitions again ({detail}); try again in a moment"
)
_NO_TLS = ErrorRule(
    ConfigError,
    "the broker at {servers} does not speak TLS on this port: take its TLS port in KAFKA_BOOTSTRAP_SERVERS, or do "
    "without {ca}",
)
_NO_TOPIC = ErrorRule(PermanentError, "there is no topic {topic} (any more); create it before using it")
_TOO_LARGE = ErrorRule(TooLarge, "{what}: the message is larger than topic {topic} takes ({detail}); send less in one")
_UNREADABLE = ErrorRule(
    PermanentError,
    "{what}: a message in it cannot be read ({detail}): it was damaged, or is of a kind that this client does not know",
)
_REFUSED = ErrorRule(PermanentError, "{what}: topic {topic} refuses the message ({detail})")

VAGUE = frozenset(
    [
        "_ALL_BROKERS_DOWN",
        "_TRANSPORT",
        "_TIMED_OUT",
        "_TIMED_OUT_QUEUE",
        "_MSG_TIMED_OUT",
        "_WAIT_COORD",
        "_NODE_UPDATE",
        "_PURGE_QUEUE",
        "_PURGE_INFLIGHT",
        "_STATE",
        "_DESTROY",
        "_FATAL",
    ]
)
"""Errors of a call that ended because its connection did; the cause was reported elsewhere."""

LOST = frozenset(
    [
        "ILLEGAL_GENERATION",
        "UNKNOWN_MEMBER_ID",
        "REBALANCE_IN_PROGRESS",
        "_ASSIGNMENT_LOST",
        "_MAX_POLL_EXCEEDED",
        "NON_EMPTY_GROUP",
    ]
)
"""Errors that mean that a partition may belong to another member now, or soon. The rebalance decides the owner."""

GONE = frozenset(
    ["UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION", "UNKNOWN_TOPIC_ID", "INCONSISTENT_TOPIC_ID"]
)
"""Errors that mean that a topic does not exist."""

UNSETTLED = frozenset(
    [
        "NOT_LEADER_FOR_PARTITION",
        "LEADER_NOT_AVAILABLE",
        "FENCED_LEADER_EPOCH",
        "UNKNOWN_LEADER_EPOCH",
        "COORDINATOR_LOAD_IN_PROGRESS",
        "COORDINATOR_NOT_AVAILABLE",
        "NOT_COORDINATOR",
    ]
)
"""A broker that was just made responsible does not know it yet."""

PASSING = UNSETTLED | frozenset(
    [
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
    ]
)
"""A client that reads tries again by itself."""

BY_NAME: dict[str, ErrorRule] = {
    **dict.fromkeys(VAGUE, _DOWN),
    **dict.fromkeys(LOST, _LOST),
    **dict.fromkeys(GONE, _NO_TOPIC),
    **dict.fromkeys(("_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED"), _PASSWORD),
    **dict.fromkeys(("MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE", "INVALID_MSG_SIZE"), _TOO_LARGE),
    **dict.fromkeys(("_BAD_MSG", "_BAD_COMPRESSION", "_UNDERFLOW", "_NOT_IMPLEMENTED"), _UNREADABLE),
    **dict.fromkeys(("INVALID_MSG", "INVALID_RECORD"), _REFUSED),
    "_ALL_BROKERS_DOWN": UNREACHABLE,
    "_RESOLVE": _RESOLVE,
    "UNSUPPORTED_SASL_MECHANISM": _MECHANISM,
    "REBALANCE_IN_PROGRESS": _REBALANCING,
    "TOPIC_AUTHORIZATION_FAILED": ErrorRule(
        ConfigError,
        "the user {user} has no ACL to {needs} topic {topic}: add one, or set {user_setting} to a user that has it",
    ),
    "GROUP_AUTHORIZATION_FAILED": ErrorRule(
        ConfigError,
        "the user {user} has no ACL to read with group {group}: add one, or set {user_setting} to a user that has it",
    ),
    "CLUSTER_AUTHORIZATION_FAILED": ErrorRule(
        ConfigError,
        "{what}: the user {user} has no ACL for this on the cluster: add one, or set {user_setting} to a user that "
        "has it",
    ),
    "SECURITY_DISABLED": ErrorRule(ConfigError, "{what}: the broker has no authorizer ({detail})"),
    "_SSL": ErrorRule(ConfigError, "TLS with the broker at {servers} does not work ({detail}): check {ca}"),
    "TOPIC_EXCEPTION": ErrorRule(PermanentError, "{topic!r} is no legal topic name ({detail})"),
    "INVALID_CONFIG": ErrorRule(
        PermanentError, "{what}: the broker refuses what topic {topic} is asked to be ({detail})"
    ),
    "INVALID_PARTITIONS": ErrorRule(PermanentError, "{what}: topic {topic}: {detail}"),
    "POLICY_VIOLATION": ErrorRule(PermanentError, "{what}: a policy of the cluster forbids topic {topic} ({detail})"),
    "TOPIC_DELETION_DISABLED": ErrorRule(ConfigError, "{what}: the broker deletes no topics: set delete.topic.enable"),
    "INVALID_GROUP_ID": ErrorRule(PermanentError, "{group!r} is no legal name of a consumer group"),
}
"""By the error's name. Any other is retried, for a limited time."""

_BY_TEXT: tuple[tuple[str, ErrorRule], ...] = (
    # A connection that ends in the middle of a login proves nothing about the login.
    (r"failed: Local: |connection reset by peer", UNREACHABLE),
    (
        r"hostname mismatch|IP address mismatch",
        ErrorRule(
            ConfigError,
            "the certificate of the broker at {servers} is made out to another host ({detail}): use a name in "
            "KAFKA_BOOTSTRAP_SERVERS that the certificate has",
        ),
    ),
    (r"wrong version number", _NO_TLS),
    # A client's guess when the broker closes the connection, which a broken network does too.
    (
        r"connecting to a PLAINTEXT broker listener",
        msgspec.structs.replace(_NO_TLS, error=RetryableError, certain=False),
    ),
    (
        r"certificate has expired",
        ErrorRule(RetryableError, "the certificate of the broker at {servers} has expired: it must be renewed there"),
    ),
    (
        r"certificate verify failed",
        ErrorRule(
            ConfigError,
            "the certificate of the broker at {servers} is not signed by {ca_source}: name the CA of this cluster",
        ),
    ),
    (
        r"mechanism handshake failed: Broker: Request not valid",
        ErrorRule(
            ConfigError,
            "the broker at {servers} asks for no login on this port: take another port in KAFKA_BOOTSTRAP_SERVERS, or "
            "do without {user_setting}",
        ),
    ),
    (r"mechanism handshake failed", _MECHANISM),
    (r"SASL authentication error", _PASSWORD),
    (
        r"in state APIVERSION_QUERY",
        ErrorRule(
            RetryableError,
            "the broker at {servers} hangs up on plaintext, as one that speaks TLS does: set KAFKA_CA_PATH, or take "
            "its plaintext port in KAFKA_BOOTSTRAP_SERVERS",
            certain=False,
        ),
    ),
    (
        r"in state UP",
        ErrorRule(
            RetryableError,
            "the broker at {servers} hangs up at the first request, as one that asks for a login does: set KAFKA_USER "
            "and KAFKA_PASSWORD",
            certain=False,
        ),
    ),
    (r"Connection refused|Connection reset|timed out", UNREACHABLE),
    (r"Failed to resolve", _RESOLVE),
)
"""Failures to connect to a broker, by their text; the first that matches."""

_DETAIL_CHARACTERS = 200
_NOISE = re.compile(r"^(\S+//)?\S+/(bootstrap|\d+): |\(after \d+ms in state \w+.*\)$|error:[0-9A-F]+:")


def name_of(error: BaseException) -> str:
    """librdkafka's name of the error that caused this one; empty where another did."""
    cause = error.__cause__
    return str(cause.args[0].name()) if isinstance(cause, KafkaException) else ""


def is_passing(name: str) -> bool:
    """Whether a client that reads goes on by itself after the error `name`; not after one that is not known here."""
    rule = BY_NAME.get(name)
    return name in PASSING or (rule is not None and rule.error is RetryableError)


def rule_of_text(text: str) -> ErrorRule | None:
    """The rule for the text of a failed connection, if it is known."""
    return next((rule for pattern, rule in _BY_TEXT if re.search(pattern, text)), None)


def error_by(
    rule: ErrorRule, operation: Operation, connection: Connection, role: Role, detail: str
) -> StreamForgeError:
    """The error with the rule's text filled in."""
    login = connection.login(role)
    ca = connection.ca_setting if connection.ca_path is not None else "KAFKA_CA_PATH"
    text = rule.text.format(
        what=operation.what,
        topic=operation.topic,
        group=operation.group,
        needs=operation.needs,
        user=login.user if login is not None else "(nobody: KAFKA_USER is not set)",
        user_setting=login.user_setting if login is not None else "KAFKA_USER",
        password=f"{login.user_setting} and {login.password_setting}" if login is not None else "KAFKA_PASSWORD",
        servers=connection.bootstrap_servers,
        ca=ca,
        ca_source=f"the CA in {ca} ({connection.ca_path})"
        if connection.ca_path
        else f"a CA of this system ({ca} is not set)",
        detail=_NOISE.sub("", detail).strip()[:_DETAIL_CHARACTERS],
    )
    return rule.error(text)


def error_of(
    name: str,
    detail: str,
    operation: Operation,
    connection: Connection,
    role: Role,
    *,
    because: StreamForgeError | None = None,
) -> StreamForgeError:
    """The error for librdkafka's error `name`. because: what is known of the connection, where the error is vague."""
    if name in VAGUE and because is not None:
        return because
    if name == "CLUSTER_AUTHORIZATION_FAILED" and operation.needs == "write":
        name = "TOPIC_AUTHORIZATION_FAILED"  # a user that may write to no topic at all gets no producer's id
    rule = rule_of_text(detail) if name == "_AUTHENTICATION" else None
    rule = rule or BY_NAME.get(name) or ErrorRule(RetryableError, "{what}: {detail}; try again")
    return error_by(rule, operation, connection, role, detail)
