from __future__ import annotations

from pathlib import Path

import pytest

from streamforge.manager.api.tokens import Access, Tokens, check_binding, is_loopback, parsed
from streamforge_utils.model.errors import ConfigError
from tests.addresses import EVERYWHERE

A, B = "reader-token-0123456789", "operator-token-0123456789"


def test_a_file_gives_roles_by_line_and_skips_comments() -> None:
    tokens = Tokens(parsed(f"# who may\n\nreader:{A}\n operator : {B} \n", "tokens.txt"))

    assert tokens.role_of(A) is Access.READER
    assert tokens.role_of(B) is Access.OPERATOR
    assert tokens.role_of(A + "x") is None
    assert tokens.role_of("") is None
    assert tokens.role_of("\udcff") is None


def test_a_token_may_have_a_name_and_is_called_by_its_role_without_one() -> None:
    tokens = Tokens(parsed(f"reader: alice@desk-1 : {A}\noperator:{B}", "tokens.txt"))

    assert tokens.holder_of(A) == (Access.READER, "alice@desk-1")
    assert tokens.holder_of(B) == (Access.OPERATOR, "operator")
    assert tokens.holder_of("alice@desk-1") is None


def test_only_the_whole_token_counts() -> None:
    tokens = Tokens(parsed(f"operator:{B}", "tokens.txt"))

    assert [number for number in range(5000) if tokens.role_of(f"operator-token-{number:010d}")] == []
    assert tokens.role_of(B[:-1]) is None
    assert tokens.role_of(B.upper()) is None


def test_a_token_with_both_roles_is_an_operators() -> None:
    assert Tokens(parsed(f"operator:{A}\nreader:{A}", "tokens.txt")).role_of(A) is Access.OPERATOR


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"reader:{A}\nadmin:{B}", "line 2"),
        (f"reader:{A}\n{B}", "line 2"),
        (f"reader:{A}\n\noperator:short-secret", "line 3"),
        (f"operator:a b:{B}", "line 1: a token's name"),
        (f"operator::{B}", "line 1: a token's name"),
        (f"operator:{B}:alice", "line 1"),
        ("operator:with space in it 0123456789", "line 1"),
        ("operator:", "line 1"),
        ("# nobody\n", "no token"),
    ],
)
def test_a_bad_file_is_refused_by_line_and_no_token_is_shown(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        parsed(text, "tokens.txt")

    assert "tokens.txt" in str(caught.value)
    assert A not in str(caught.value)
    assert B not in str(caught.value)
    assert "short-secret" not in str(caught.value)
    assert "with space" not in str(caught.value)


def test_the_environment_names_a_file_and_two_tokens(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"reader:{A}\n")

    both = Tokens.read({"STREAMFORGE_TOKENS_FILE": str(path), "STREAMFORGE_OPERATOR_TOKEN": B})

    assert both is not None
    assert (both.role_of(A), both.role_of(B)) == (Access.READER, Access.OPERATOR)
    alone = Tokens.read({"STREAMFORGE_READER_TOKEN": A})
    assert alone is not None
    assert (alone.role_of(A), alone.role_of(B)) == (Access.READER, None)
    assert Tokens.read({}) is None
    assert Tokens.read({"STREAMFORGE_READER_TOKEN": ""}) is None


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        Tokens.read({"STREAMFORGE_TOKENS_FILE": str(tmp_path / "none")})
    (tmp_path / "raw").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not text"):
        Tokens.read({"STREAMFORGE_TOKENS_FILE": str(tmp_path / "raw")})


def test_a_weak_token_in_the_environment_is_refused_without_being_shown() -> None:
    with pytest.raises(ConfigError, match="STREAMFORGE_OPERATOR_TOKEN") as caught:
        Tokens.read({"STREAMFORGE_OPERATOR_TOKEN": "hunter2"})

    assert "hunter2" not in str(caught.value)


def test_tokens_do_not_show_themselves() -> None:
    tokens = Tokens([(Access.READER, A)])

    assert repr(tokens) == "Tokens(1 known)"
    assert A not in str(vars(tokens))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "LOCALHOST", "localhost.", "::1", "[::1]"])
def test_loopback_needs_no_tokens(host: str) -> None:
    assert is_loopback(host)
    check_binding(host, None)


@pytest.mark.parametrize(
    "host",
    [EVERYWHERE, "::", "", "10.0.0.1", "example.org", "localhost.example.org", "127.0.0.1.example.org", "2130706433"],
)
def test_anything_else_needs_tokens_and_says_so(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(ConfigError, match="STREAMFORGE_TOKENS_FILE"):
        check_binding(host, None)
    check_binding(host, Tokens([(Access.READER, A)]))
