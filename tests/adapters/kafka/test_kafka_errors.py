"""Every error of librdkafka and of the brokers is sorted into what helps, with a sentence for a person."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from confluent_kafka import KafkaError

from streamforge_utils.adapters.kafka.kafka_client import GUESSES, ClientDiagnostics
from streamforge_utils.adapters.kafka.kafka_connection import Connection, Login, Role
from streamforge_utils.adapters.kafka.kafka_errors import BY_NAME, PASSING, Operation, error_of, is_passing
from streamforge_utils.model.errors import ConfigError, PermanentError, RetryableError, StreamForgeError, TooLarge
from streamforge_utils.model.secret import Secret

SECRET = "hush-hush"
CONNECTION = Connection(
    bootstrap_servers="kafka.test:9093",
    security_protocol="SASL_SSL",
    ca_path=Path("/etc/ca.crt"),
    logins=dict.fromkeys(Role, Login(user="worker", password=Secret(SECRET))),
)
OPERATION = Operation(what="send to topic orders", topic="orders", group="readers", needs="write")
AT = "sasl_ssl://kafka.test:9093/bootstrap: "


def named(name: str) -> StreamForgeError:
    return error_of(name, "Broker: something", OPERATION, CONNECTION, Role.PRODUCER)


def explained(line: str, times: int = 1, *, connected: bool = False) -> StreamForgeError:
    """The error of a call that ran out of time after the client logged `line`, `times` times."""
    diagnostics = ClientDiagnostics(CONNECTION, Role.PRODUCER, log=lambda *_, **__: None)
    diagnostics.connected = connected
    for _ in range(times):
        diagnostics.log(20, "%s [%s] %s", "FAIL", "rdkafka#producer-1", f"[thrd:{AT}]: {AT}{line}")
    return diagnostics.explain(OPERATION, "_TIMED_OUT", "no answer within 6 s")


def test_every_name_is_one_of_the_librarys_and_a_reader_goes_on_only_where_time_helps() -> None:
    known = {name for name in dir(KafkaError) if name.isupper()}
    assert (BY_NAME.keys() | PASSING) - known == set()
    for name in (KafkaError(getattr(KafkaError, name)).name() for name in known):
        rule = BY_NAME.get(name)
        if rule is not None:
            assert is_passing(name) == (rule.error is RetryableError), name
        elif name not in PASSING:
            assert not is_passing(name)
            assert isinstance(named(name), RetryableError), "what nobody has sorted is reported, and tried again"


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_every_sentence_is_about_something_and_holds_no_password(name: str) -> None:
    text = str(named(name))
    assert "{" not in text
    assert SECRET not in text
    assert [field for _, field, _, _ in string.Formatter().parse(BY_NAME[name].text) if field]


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        ("_AUTHENTICATION", ConfigError, "KAFKA_PASSWORD"),
        ("TOPIC_AUTHORIZATION_FAILED", ConfigError, "the user worker has no ACL to write topic orders"),
        ("GROUP_AUTHORIZATION_FAILED", ConfigError, "group readers"),
        ("CLUSTER_AUTHORIZATION_FAILED", ConfigError, "worker"),
        ("UNKNOWN_TOPIC_OR_PART", PermanentError, "there is no topic orders"),
        ("_UNKNOWN_TOPIC", PermanentError, "there is no topic orders"),
        ("MSG_SIZE_TOO_LARGE", TooLarge, "larger than topic orders takes"),
        ("TOPIC_EXCEPTION", PermanentError, "'orders' is no legal topic name"),
        ("_MSG_TIMED_OUT", RetryableError, "kafka.test:9093 do not answer"),
        ("_TRANSPORT", RetryableError, "kafka.test:9093"),
        ("_ALL_BROKERS_DOWN", RetryableError, "KAFKA_BOOTSTRAP_SERVERS"),
        ("ILLEGAL_GENERATION", RetryableError, "another member of the group readers"),
        ("REBALANCE_IN_PROGRESS", RetryableError, "sharing out its partitions"),
        ("KAFKA_STORAGE_ERROR", RetryableError, "Broker: something; try again"),
        ("NOT_ENOUGH_REPLICAS", RetryableError, "try again"),
    ],
)
def test_errors_are_sorted_by_what_helps(name: str, kind: type[Exception], text: str) -> None:
    error = named(name)
    assert type(error) is kind
    assert text in str(error)


@pytest.mark.parametrize(
    ("line", "kind", "text"),
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
        # A connection that breaks off in the middle of a login tells nothing about the settings.
        (
            "SASL authentication error: SaslAuthenticateRequest failed: Local: Broker transport failure "
            "(after 0ms in state DOWN)",
            RetryableError,
            "no broker answers",
        ),
        (
            "SASL SCRAM-SHA-512 mechanism handshake failed: Local: Broker transport failure: broker's supported "
            "mechanisms: (after 3ms in state AUTH_HANDSHAKE)",
            RetryableError,
            "no broker answers",
        ),
        (
            "SSL handshake failed: Disconnected: connection reset by peer: connecting to a PLAINTEXT broker listener? "
            "(after 0ms in state SSL_HANDSHAKE)",
            RetryableError,
            "no broker answers",
        ),
    ],
)
def test_why_there_is_no_connection_is_reported_instead_of_a_timeout(
    line: str, kind: type[Exception], text: str
) -> None:
    for times in (1, GUESSES):
        error = explained(line, times)
        assert type(error) is kind
        assert text in str(error)
    if text == "no broker answers":
        assert text in str(explained(line, GUESSES, connected=True))


@pytest.mark.parametrize(
    ("line", "text"),
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
def test_a_guess_is_reported_only_once_repeated_never_after_a_connection_and_ends_nothing(line: str, text: str) -> None:
    assert text not in str(explained(line, GUESSES - 1))
    assert text in str(explained(line, GUESSES))
    # A network that is cut looks the same: what is guessed may be over soon.
    assert isinstance(explained(line, GUESSES), RetryableError)
    assert text not in str(explained(line, GUESSES, connected=True))


def test_a_certificate_that_is_no_longer_trusted_may_be_waited_for() -> None:
    line = "SSL handshake failed: certificate verify failed (after 12ms in state SSL_HANDSHAKE)"
    error = explained(line, connected=True)
    assert isinstance(error, RetryableError)
    assert "waiting for the CA file" in str(error)


def test_an_answer_ends_what_was_wrong_and_the_same_is_logged_once_a_while_whatever_its_numbers() -> None:
    lines: list[str] = []
    diagnostics = ClientDiagnostics(
        CONNECTION, Role.CONSUMER, log=lambda level, event, **fields: lines.append(str(fields["said"]))
    )
    diagnostics.log(20, "%s", f"FAIL [x]: {AT}SASL authentication error: no (after 1ms in state AUTH_REQ)")
    with pytest.raises(ConfigError):
        diagnostics.check()
    diagnostics.answered()
    diagnostics.check()
    lines.clear()
    for milliseconds in range(50):
        diagnostics.log(40, "%s", f"SOMETHING [x]: broke after {milliseconds} ms")
    assert len(lines) == 1
