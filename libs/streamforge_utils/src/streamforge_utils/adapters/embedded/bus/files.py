"""Where the topics lie: one folder each, with the log and its groups in two files.

The files of a topic carry a random part in their names. A topic that is created again gets other files, so that a
process that still holds the old ones, and SQLite removing the old write-ahead log by its name, cannot harm the new.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from streamforge_utils.adapters.bus_clients import check_topic, check_topic_name
from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.adapters.embedded.bus.groups import Groups
from streamforge_utils.adapters.embedded.bus.log import Log, gone
from streamforge_utils.adapters.embedded.bus.notification import Waiter
from streamforge_utils.adapters.embedded.wal_copier import FailedCopies
from streamforge_utils.model.errors import ConfigError, PermanentError, RetryableError
from streamforge_utils.ports.bus import TopicSpec

_PLAIN = re.compile(
    r"[a-z0-9_-][a-z0-9._-]{0,119}"
)  # legal as a folder's name, also where the file system ignores case
_NAME_FILE = "name"


class OpenTopic:
    """The log and the groups of a topic, open. waiter: notified of changes; None where it is not to be."""

    def __init__(self, log: Log, groups: Groups, waiter: Waiter | None = None) -> None:
        self.log = log
        self.groups = groups
        self.waiter = waiter

    @property
    def name(self) -> str:
        return self.log.spec.name

    def close(self) -> None:
        if self.waiter is not None:
            self.waiter.close()
        self.log.close()
        self.groups.close()


LOCK_FILE: Final = "bus.lock"
"""Locked while a topic is opened, made or removed."""

_LOCK_LIMIT_S = 30.0
_LOCK_PAUSE_S = 0.002


class TopicFiles:
    """The topics under one directory. Every method blocks; any thread, any process. failed: as `WalCopier` takes it."""

    def __init__(self, directory: Path, failed: FailedCopies | None = None) -> None:
        self._failed = failed
        self._topics = directory / "topics"
        self._lock = directory / LOCK_FILE
        self.members = directory / "members"

    def open(self, name: str, *, notified: bool = False) -> OpenTopic:
        """Open a topic. notified: of its changes, where the file system can. Raises PermanentError if there is none."""
        folder = self._folder(name)
        # Without the lock a file could be opened that is being removed: what is written then would be lost.
        with locked(self._lock, exclusive=False):
            path = _log_in(folder)
            if path is None:
                raise PermanentError(f"there is no topic {name}; create it before using it")
            log = Log.open(path, name, self._failed)
            try:
                if log.deleted:
                    raise gone(name)
                groups = Groups.open(_groups_beside(path))
            except BaseException:
                log.close()
                raise
            topic = OpenTopic(log, groups)
            try:
                log.begin_after(groups.highest())
                if notified:
                    with suppress(OSError):  # without it, the consumer looks by itself
                        topic.waiter = Waiter(folder)
            except BaseException:
                topic.close()
                raise
            return topic

    def create(self, spec: TopicSpec) -> None:
        """Make a topic; one that exists is left as it is. Raises PermanentError for what cannot be."""
        folder = self._folder(spec.name)
        check_topic(spec)
        with locked(self._lock, exclusive=True):
            path = _log_in(folder)
            if path is not None:
                log = Log.open(path, spec.name)
                try:
                    if not log.deleted:
                        return
                finally:
                    log.close()
            _empty(folder)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / _NAME_FILE).write_text(spec.name)
            identity = secrets.token_hex(6)
            draft = folder / f"draft-{identity}.db"
            groups = folder / f"groups-{identity}.db"
            # Synced once when they are complete, not at every step: topics are made two at a time for each workflow.
            Log.create(draft, spec)
            Groups.create(groups)
            for path in (draft, groups):
                sqlite.settle(path)
            draft.rename(folder / f"log-{identity}.db")

    def delete(self, name: str) -> None:
        """Remove a topic; processes that have it open find it marked as deleted."""
        folder = self._folder(name)
        with locked(self._lock, exclusive=True):
            path = _log_in(folder)
            if path is not None:
                log = Log.open(path, name)
                try:
                    log.mark_deleted()
                finally:
                    log.close()
                groups = Groups.open(_groups_beside(path), create=True)
                try:
                    groups.disband()
                finally:
                    groups.close()
            _empty(folder)

    def names(self) -> list[str]:
        """The names of all topics, sorted."""
        if not self._topics.is_dir():
            return []
        with locked(self._lock, exclusive=False):
            return sorted(_name_of(folder) for folder in self._topics.iterdir() if _log_in(folder) is not None)

    def sizes(self) -> dict[str, int]:
        """The bytes that the files of each topic take, by its name."""
        return {name: sum(_bytes(path) for path in self._folder(name).glob("*")) for name in self.names()}

    def _folder(self, name: str) -> Path:
        check_topic_name(name)
        if _PLAIN.fullmatch(name):
            return self._topics / name
        return self._topics / f"{name[:80].lower().lstrip('.')}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"


class OpenTopics:
    """The topics that a thread has open, a limited number; one that was deleted and created again is opened again."""

    def __init__(self, files: TopicFiles, limit: int = 32) -> None:
        self._files = files
        self._limit = limit
        self._open: dict[str, OpenTopic] = {}

    def get(self, name: str) -> OpenTopic:
        """The topic, open. Raises PermanentError if there is none."""
        topic = self._open.pop(name, None)
        if topic is not None and topic.log.deleted:
            topic.close()
            topic = None
            try:
                topic = self._files.open(name)
            except PermanentError as error:
                raise gone(name) from error
        if topic is None:
            topic = self._files.open(name)
        self._open[name] = topic
        if len(self._open) > self._limit:
            self._open.pop(next(iter(self._open))).close()
        return topic

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # it was removed a moment ago
        return 0


def _name_of(folder: Path) -> str:
    return folder.name if _PLAIN.fullmatch(folder.name) else (folder / _NAME_FILE).read_text()


def _log_in(folder: Path) -> Path | None:
    try:  # not by `glob`, which takes ten times as long: workers look at all topics as they begin
        found = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return next((folder / one for one in found if one.startswith("log-") and one.endswith(".db")), None)


def _groups_beside(log: Path) -> Path:
    return log.with_name(log.name.replace("log-", "groups-", 1))


def _empty(folder: Path) -> None:
    if not folder.is_dir():
        return
    for path in sorted(folder.glob("*.db")):
        sqlite.remove(path)
    for path in folder.iterdir():  # what a killed process left
        path.unlink(missing_ok=True)
    folder.rmdir()


@contextmanager
def locked(path: Path, *, exclusive: bool) -> Iterator[None]:
    """Hold a lock among processes, shared or exclusive. Raises RetryableError if it is not to be had."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(
            f"cannot open {path}: {error.strerror}; check that its directory may be written by this user"
        ) from error
    try:
        give_up = time.monotonic() + _LOCK_LIMIT_S
        while True:
            try:
                fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > give_up:
                    raise RetryableError(f"{path} is locked by another process for too long; try again") from error
                time.sleep(_LOCK_PAUSE_S)
        yield
    finally:
        os.close(descriptor)
