"""Secrets of users in a folder that is laid out like mounted Secrets: `FOLDER/SECRET/KEY`."""

from __future__ import annotations

import os
import secrets
import string
from pathlib import Path

from streamforge_utils.adapters.kafka_apply.manifest_reader import WantedUser
from streamforge_utils.model.errors import ConfigError
from streamforge_utils.model.secret import Secret

_LENGTH = 32
_LETTERS = string.ascii_letters + string.digits


class SecretsFolder:
    """Reads passwords, and makes those that may be made, readable by nobody else."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, user: WantedUser) -> Path:
        """Where the password of the user lies."""
        return self._folder / user.secret.name / user.secret.key

    def read(self, user: WantedUser) -> Secret | None:
        """The password; None if there is none. Raises ConfigError for a file that holds none or cannot be read."""
        path = self.path(user)
        try:
            text = path.read_text(encoding="utf-8").strip("\r\n")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--secrets: the password file {path} cannot be read ({error})") from error
        if not text:
            raise ConfigError(f"--secrets: the password file {path} is empty; remove it to have a password made")
        return Secret(text)

    def require(self, user: WantedUser) -> Secret:
        """The password, made now if it may be. Raises ConfigError if it must be given and is not."""
        found = self.read(user)
        if found is not None:
            return found
        if user.given:
            raise ConfigError(
                f"{user.source}: its password is to come from the Secret {user.secret.name}, key {user.secret.key}: "
                f"write it to {self.path(user)}"
            )
        return self.renew(user)

    def renew(self, user: WantedUser) -> Secret:
        """Make another password, in place of the one that is there, if one is. Raises ConfigError."""
        path = self.path(user)
        text = "".join(secrets.choice(_LETTERS) for _ in range(_LENGTH))
        new = path.with_name(f".{path.name}.new")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            new.unlink(missing_ok=True)
            file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(file, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(file)
            new.replace(path)
        except OSError as error:
            raise ConfigError(f"--secrets: the password file {path} cannot be written ({error.strerror})") from error
        return Secret(text)
