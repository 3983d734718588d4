"""Passwords of users: read where they are, made where they may be, seen by nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamforge_utils.adapters.kafka_apply.apply_records import SecretsFolder
from streamforge_utils.adapters.kafka_apply.manifest_reader import SecretKey, WantedUser
from streamforge_utils.model.errors import ConfigError

USER = WantedUser("somebody", SecretKey("somebody"), False, frozenset(), "u.yaml")
GIVEN = WantedUser("somebody", SecretKey("theirs", "word"), True, frozenset(), "u.yaml")


def test_a_missing_password_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    secrets = SecretsFolder(tmp_path / "secrets")
    assert secrets.read(USER) is None
    made = secrets.require(USER)
    path = tmp_path / "secrets" / "somebody" / "password"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0
    assert len(made.reveal()) == 32
    assert secrets.require(USER).reveal() == made.reveal() == path.read_text()


def test_two_passwords_differ(tmp_path: Path) -> None:
    one, other = SecretsFolder(tmp_path / "1").require(USER), SecretsFolder(tmp_path / "2").require(USER)
    assert one.reveal() != other.reveal()


def test_a_password_that_is_given_lies_where_its_secret_says(tmp_path: Path) -> None:
    secrets = SecretsFolder(tmp_path)
    with pytest.raises(ConfigError, match=r"Secret theirs, key word: write it to .*/theirs/word"):
        secrets.require(GIVEN)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "word").write_text("abc\n")
    assert secrets.require(GIVEN).reveal() == "abc"


def test_an_empty_file_is_no_password(tmp_path: Path) -> None:
    (tmp_path / "somebody").mkdir()
    (tmp_path / "somebody" / "password").write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        SecretsFolder(tmp_path).require(USER)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "secrets").write_text("a file")
    with pytest.raises(ConfigError, match=r"--secrets: .*/secrets/somebody/password"):
        SecretsFolder(tmp_path / "secrets").require(USER)


def test_it_does_not_show_itself(tmp_path: Path) -> None:
    found = SecretsFolder(tmp_path).require(USER)
    assert found.reveal() not in f"{found!r} {found}"
