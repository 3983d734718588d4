"""The folder in which the embedded default keeps its files: its format, the one manager that holds it, where it is."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from streamforge_utils.model.errors import ConfigError

FORMAT = 2
"""Version of the folder's layout; the files in it carry their own. 2: records lie in tables of their fields."""

_FORMAT_FILE, _LOCK_FILE, _SERVER_FILE = "format.json", "manager.lock", "server.json"


class DataDirectory:
    """A data directory. Making the object touches nothing; `open` does."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    def used(self) -> bool:
        """Whether there is something in its place other than a folder that never was a data directory."""
        return self.path.exists() and (not self.path.is_dir() or (self.path / _FORMAT_FILE).exists())

    def open(self) -> None:
        """Make the folder if there is none, readable by its owner only, and check its format.

        Raises ConfigError: it cannot be written, holds something else, or was written by a newer version.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._check_format()
        except OSError as error:
            # For a file in the place of the folder, or above it, the system's message is hard to understand.
            file = next((path for path in (self.path, *self.path.parents) if path.is_file()), None)
            why = f"{file} is a file" if file is not None else error.strerror or str(error)
            raise ConfigError(
                f"the data directory {self.path} cannot be used ({why}): choose another with --data"
            ) from error

    @contextmanager
    def lock(self, *, drives: bool = True) -> Iterator[None]:
        """Be the one manager of this folder, until the end of the block. Raises ConfigError if there is another.

        drives: the workflows go on meanwhile; else others are kept out, and that is all.
        """
        self.open()
        descriptor = os.open(self.path / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                where = self.server()
                raise ConfigError(
                    f"another manager holds {self.path}"
                    + (f" and serves {where}: use it with --server {where}" if where else "")
                    + ", or choose another folder with --data"
                ) from error
            if self._read_format().get("format") != FORMAT:
                # Before anything in it changes, so that an older version refuses all of it.
                self._write_format({"format": FORMAT, "moving": True})
            (self.path / _SERVER_FILE).unlink(missing_ok=True)
            if not drives:
                with suppress(OSError):  # on a full disk, which it may be about to empty; it is taken to drive then
                    self._note({"drives": False, "pid": os.getpid()})
            if not os.fstat(descriptor).st_size:
                os.write(descriptor, secrets.token_hex(8).encode())
            yield
        finally:
            os.close(descriptor)

    def place(self) -> str:
        """What names this folder, and no copy of it; of two that name the same only one can hold its lock.

        Raises ConfigError before the first lock.
        """
        try:
            mark = (self.path / _LOCK_FILE).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"{self.path / _LOCK_FILE} cannot be read ({error}): remove it while no manager runs"
            ) from error
        return f"{socket.gethostname()}:{self.path}:{mark}"

    def advertise(self, url: str) -> None:
        """Say where the manager that holds the lock serves."""
        self._note({"url": url, "pid": os.getpid()})

    def server(self) -> str | None:
        """The URL of the manager that holds this folder now; None if there is none, or it does not serve (yet)."""
        url = self._noted().get("url") if self.held() else None
        return url if isinstance(url, str) else None

    def process(self) -> int | None:
        """The process of the manager of `server`; None if there is none."""
        pid = self._noted().get("pid") if self.held() else None
        return pid if isinstance(pid, int) else None

    def driven(self) -> bool:
        """Whether a manager holds the folder that drives its workflows, or is about to."""
        return self.held() and self._noted().get("drives") is not False

    def held(self) -> bool:
        """Whether a manager holds the folder."""
        try:
            descriptor = os.open(self.path / _LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    def _note(self, of_holder: dict[str, object]) -> None:
        target = self.path / _SERVER_FILE
        draft = target.with_suffix(".tmp")
        draft.write_text(json.dumps(of_holder), "utf-8")
        draft.replace(target)

    def _noted(self) -> dict[str, object]:
        """What the holder of the lock, or the one before it, noted."""
        try:
            noted = json.loads((self.path / _SERVER_FILE).read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return noted if isinstance(noted, dict) else {}

    def moving(self) -> bool:
        """Whether the folder is an older version's, of which not all was brought into this version's format."""
        return self._read_format().get("moving") is True

    def moved(self) -> None:
        """Note that all is in this version's format. For the holder of the lock."""
        self._write_format({"format": FORMAT})

    def _read_format(self) -> dict[str, object]:
        found = json.loads((self.path / _FORMAT_FILE).read_text("utf-8"))
        return found if isinstance(found, dict) else {}

    def _write_format(self, noted: dict[str, object]) -> None:
        file = self.path / _FORMAT_FILE
        draft = file.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(json.dumps(noted), "utf-8")
        draft.replace(file)

    def _check_format(self) -> None:
        file = self.path / _FORMAT_FILE
        try:
            found = json.loads(file.read_text("utf-8"))["format"]
        except FileNotFoundError:
            self._write_format({"format": FORMAT})
            return
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{file} is damaged: if {self.path} is StreamForge's, write {json.dumps({'format': FORMAT})} into it"
            ) from error
        if not isinstance(found, int) or found > FORMAT:
            raise ConfigError(
                f"{self.path} has format {found}; this version of StreamForge knows up to {FORMAT}: upgrade "
                "StreamForge, or choose another folder with --data"
            )
