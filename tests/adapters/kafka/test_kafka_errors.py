"""Every error of librdkafka and of the brokers, sorted into what helps, with a sentence for a person."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from confluent_kafka import KafkaError

from streamforge_utils.adapters.kafka.diagnostics import UNSURE_TIMES, ClientDiagnostics
from streamforge_utils.adapters.kafka.kafka_connection import Connection, Login, Role
from streamforge_utils.adapters.kafka.kafka_errors import (
    GONE,
    LOST,
    NAMED,
    PASSING,
    TEXTS,
    VAGUE,
    About,
    Helps,
    error_of,
    is_passing,
)
from streamforge_utils.model.errors import ConfigError, PermanentError, RetryableError, StreamForgeError
from streamforge_utils.model.secret import Secret

SECRET = "hush-hush"
CONNECTION = Connection(
    bootstrap_servers="kafka.test:9093",
    security_protocol="SASL_SSL",
    ca_path=Path("/etc/ca.crt"),
    logins=dict.fromkeys(Role, Login(user="worker", password=Secret(SECRET))),
)
ABOUT = About(what="send to topic orders", topic="orders", group="readers", needs="write")
AT = "sasl_ssl://kafka.test:9093/bootstrap: "


def said(name: str, detail: str = "Broker: something") -> StreamForgeError:
    return error_of(name, detail, ABOUT, CONNECTION, Role.PRODUCER)


def heard(*lines: str, connected: bool = False, role: Role = Role.PRODUCER) -> StreamForgeError:
    """What a call that ran out of time tells after the client said `lines`."""
    diagnostics = ClientDiagnostics(CONNECTION, role, log=lambda *_, **__: None)
    diagnostics.connected = connected
    for line in lines:
        diagnostics.log(20, "%s [%s] %s", "FAIL", "rdkafka#producer-1", f"[thrd:{AT}]: {AT}{line}")
    return diagnostics.explain(ABOUT, "_TIMED_OUT", "no answer within 6 s")


def test_every_name_in_the_table_is_one_of_the_librarys() -> None:
    known = {name for name in dir(KafkaError) if name.isupper()}
    assert {name for name in (NAMED.keys() | PASSING) if name not in known} == set()


def test_a_reader_goes_on_by_itself_only_after_what_time_helps_against() -> None:
    known = {getattr(KafkaError, name) for name in dir(KafkaError) if name.isupper()}
    for code in known:
        name = KafkaError(code).name()
        rule = NAMED.get(name)
        if rule is not None:
            assert is_passing(name) == (rule.helps is Helps.TIME), name
        elif name not in PASSING:
            assert not is_passing(name)
            assert isinstance(said(name), RetryableError), "what nobody has sorted is told, and tried again"


@pytest.mark.parametrize("name", sorted(NAMED))
def test_every_sentence_can_be_told_and_holds_no_password(name: str) -> None:
    text = str(said(name))
    assert "{" not in text
    assert SECRET not in text
    fields = {field for _, field, _, _ in string.Formatter().parse(NAMED[name].says) if field}
    assert fields, "a sentence names what it is about"


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("_AUTHENTICATION", ConfigError, "KAFKA_PASSWORD"),
        ("TOPIC_AUTHORIZATION_FAILED", ConfigError, "the user worker has no ACL to write topic orders"),
        ("GROUP_AUTHORIZATION_FAILED", ConfigError, "group readers"),
        ("CLUSTER_AUTHORIZATION_FAILED", ConfigError, "worker"),
        ("UNKNOWN_TOPIC_OR_PART", PermanentError, "there is no topic orders"),
        ("_UNKNOWN_TOPIC", PermanentError, "there is no topic orders"),
        ("MSG_SIZE_TOO_LARGE", PermanentError, "larger than topic orders takes"),
        ("TOPIC_EXCEPTION", PermanentError, "'orders' is no legal topic name"),
        ("_MSG_TIMED_OUT", RetryableError, "kafka.test:9093 do not answer"),
        ("_TRANSPORT", RetryableError, "kafka.test:9093"),
        ("_ALL_BROKERS_DOWN", RetryableError, "KAFKA_BOOTSTRAP_SERVERS"),
        ("ILLEGAL_GENERATION", RetryableError, "another member of the group readers"),
        ("UNKNOWN_MEMBER_ID", RetryableError, "another member of the group readers"),
        ("KAFKA_STORAGE_ERROR", RetryableError, "Broker: something; try again"),
        ("NOT_ENOUGH_REPLICAS", RetryableError, "try again"),
    ],
)
def test_errors_are_sorted_by_what_helps(name: str, kind: type[Exception], says: str) -> None:
    error = said(name)
    assert type(error) is kind
    assert says in str(error)


@pytest.mark.parametrize(
    ("line", "kind", "says"),
    [
        (
            "SASL authentication error: Authentication failed during authentication due to invalid credentials with "
            "SASL mechanism SCRAM-SHA-512 (after 312ms in state AUTH_REQ)",
            ConfigError,
            "does not know the user worker, or knows another password: check KAFKA_USER and KAFKA_PASSWORD",
        ),
        (
            "SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate could "
            "not be verified, verify that ssl.ca.location is correctly configured (after 12ms in state SSL_HANDSHAKE)",
            ConfigError,
            "is not signed by the CA in KAFKA_CA_PATH (/etc/ca.crt)",
        ),
        (
            "SSL handshake failed: error:0A00010B:SSL routines::wrong version number "
            "(after 5ms in state SSL_HANDSHAKE)",
            ConfigError,
            "does not speak TLS on this port",
        ),
        (
            "SASL PLAIN mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported "
            "mechanisms: SCRAM-SHA-512 (after 1ms in state AUTH_HANDSHAKE)",
            ConfigError,
            "STREAMFORGE_KAFKA_SASL_MECHANISM",
        ),
        (
            "Failed to resolve 'kafka.test:9093': Name or service not known (after 9ms in state CONNECT)",
            RetryableError,
            "the host in KAFKA_BOOTSTRAP_SERVERS (kafka.test:9093) is not known",
        ),
        (
            "Connect to ipv4#127.0.0.1:9093 failed: Connection refused (after 0ms in state CONNECT)",
            RetryableError,
            "no broker answers at kafka.test:9093",
        ),
    ],
)
def test_why_there_is_no_connection_is_told_instead_of_a_timeout(line: str, kind: type[Exception], says: str) -> None:
    error = heard(line)
    assert type(error) is kind
    assert says in str(error)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (
            "SSL handshake failed: Disconnected: SSL connection closed by peer: connecting to a PLAINTEXT broker "
            "listener? (after 5ms in state SSL_HANDSHAKE)",
            "does not speak TLS on this port",
        ),
        (
            "Disconnected: connection closed by peer: receive 0 after POLLIN (after 0ms in state APIVERSION_QUERY)",
            "set KAFKA_CA_PATH",
        ),
        ("Disconnected: connection closed by peer (after 0ms in state UP)", "set KAFKA_USER and KAFKA_PASSWORD"),
    ],
)
def test_a_guess_is_told_only_when_it_comes_again_never_after_a_connection_and_ends_nothing(
    line: str, says: str
) -> None:
    assert says not in str(heard(*[line] * (UNSURE_TIMES - 1)))
    assert says in str(heard(*[line] * UNSURE_TIMES))
    # A network that is cut looks the same: what is guessed may be over soon.
    assert isinstance(heard(*[line] * UNSURE_TIMES), RetryableError)
    assert says not in str(heard(*[line] * UNSURE_TIMES, connected=True))


def test_a_certificate_that_is_no_longer_trusted_may_be_waited_for() -> None:
    line = "SSL handshake failed: certificate verify failed (after 12ms in state SSL_HANDSHAKE)"
    error = heard(line, connected=True)
    assert isinstance(error, RetryableError)
    assert "waiting for the CA file" in str(error)


@pytest.mark.parametrize(
    "line",
    [
        "SASL authentication error: SaslAuthenticateRequest failed: Local: Broker transport failure "
        "(after 0ms in state DOWN)",
        "SASL SCRAM-SHA-512 mechanism handshake failed: Local: Broker transport failure: broker's supported mechanisms:"
        " (after 3ms in state AUTH_HANDSHAKE)",
        "SSL handshake failed: Disconnected: connection reset by peer: connecting to a PLAINTEXT broker listener? "
        "(after 0ms in state SSL_HANDSHAKE)",
    ],
)
@pytest.mark.parametrize("connected", [False, True])
def test_a_connection_that_breaks_off_in_a_login_says_nothing_about_settings(line: str, connected: bool) -> None:
    error = heard(*[line] * UNSURE_TIMES, connected=connected)
    assert type(error) is RetryableError
    assert "no broker answers" in str(error)


def test_an_answer_ends_what_was_wrong() -> None:
    diagnostics = ClientDiagnostics(CONNECTION, Role.CONSUMER, log=lambda *_, **__: None)
    diagnostics.log(20, "%s", f"FAIL [x]: {AT}SASL authentication error: no (after 1ms in state AUTH_REQ)")
    with pytest.raises(ConfigError):
        diagnostics.check()
    diagnostics.answered()
    diagnostics.check()


def test_the_same_is_logged_once_a_while_whatever_its_numbers() -> None:
    lines: list[str] = []
    diagnostics = ClientDiagnostics(
        CONNECTION, Role.CONSUMER, log=lambda level, event, **fields: lines.append(str(fields["said"]))
    )
    for milliseconds in range(50):
        diagnostics.log(40, "%s", f"SOMETHING [x]: broke after {milliseconds} ms")
    assert len(lines) == 1


def test_the_groups_of_names_are_what_the_adapter_takes_them_for() -> None:
    assert {"ILLEGAL_GENERATION", "UNKNOWN_MEMBER_ID"} <= LOST
    assert {"UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC"} <= GONE
    assert {"_TIMED_OUT", "_TRANSPORT"} <= VAGUE
    assert len(TEXTS) == len({pattern.pattern for pattern, _ in TEXTS})
