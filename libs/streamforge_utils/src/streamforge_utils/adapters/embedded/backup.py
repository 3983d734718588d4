"""A copy of the data directory, made while a manager and its workers go on, and the way back.

Each database is copied from one snapshot of it, in this order: states, topics (the groups before the log), documents,
edges; then other files, and objects. So nothing in the copy refers to what is missing in it: what the coverage calls
stored was stored before the documents were copied, and an offset that was committed lies inside its log. What happened
meanwhile may be missing, as after a crash at that moment; a manager goes on from there. Blocking.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import msgspec

from streamforge_utils.adapters.embedded import sqlite
from streamforge_utils.adapters.embedded.datadir import FORMAT as DATA_FORMAT
from streamforge_utils.adapters.embedded.datadir import DataDirectory
from streamforge_utils.model.errors import ConfigError, InvalidInput
from streamforge_utils.ports.backup_folder import (
    MANIFEST,
    check_digest,
    check_new,
    check_there,
    draft_of,
    read_manifest,
    sha256,
    write_manifest,
)

FORMAT: Final = 1
_DATA: Final = "data"
_OBJECTS: Final = "objects"
_CHECKSUMS: Final = ".checksums"
_UNFINISHED: Final = {".drafts", ".lock"}
"""In a folder of objects."""
_LEFT_OUT: Final = {"manager.lock", "server.json", "bus.lock"}
"""What is about one folder and its manager: a copy is another folder."""


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a backup."""

    bytes: int
    sha256: str


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """What `backup.json` holds. made_at: ISO 8601, UTC. documents: how many each collection has, by name."""

    format: int = FORMAT
    data_format: int = DATA_FORMAT
    made_at: str
    made_by: str
    topics: int
    documents: dict[str, int]
    files: dict[str, Copied]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.bytes for file in self.files.values())


def back_up(data: Path, target: Path, *, made_at: str, made_by: str, objects: Path | None = None) -> Backup:
    """Copy the data directory `data` to the new folder `target`, which appears when it is whole and on the disk.

    objects: their folder, wherever that is; the copy has them as `objects`. None: they lie in no folder.

    Raises InvalidInput (no data directory, a target that exists), ConfigError (a broken file) or RetryableError.
    """
    if not (data / "format.json").exists():
        raise InvalidInput("data", f"{data} is no data directory of StreamForge: name one with --data")
    DataDirectory(data).open()
    check_new(target)
    with draft_of(target) as draft:
        copy = draft / _DATA
        copy.mkdir(mode=0o700)
        documents = _copy_all(data, copy, objects)
        if objects is not None:
            _copy_objects(objects, copy / _OBJECTS)
        paths = sorted(path for path in copy.rglob("*") if path.is_file())
        backup = Backup(
            made_at=made_at,
            made_by=made_by,
            topics=sum(1 for _ in (copy / "bus").glob("topics/*/log-*.db")),
            documents=documents,
            files={
                path.relative_to(copy).as_posix(): Copied(bytes=path.stat().st_size, sha256=sha256(path))
                for path in paths
            },
        )
        write_manifest(draft, backup)
    return backup


def restore(backup: Path, data: Path) -> Backup:
    """Make the data directory `data` from a backup, after every byte of it was compared with its checksum.

    Raises InvalidInput (no backup; `data` holds something) or ConfigError (a damaged or newer backup), RetryableError.
    """
    found = read(backup)
    if DataDirectory(data).held():
        raise InvalidInput("data", f"a manager works on {data}: end it first, or restore into another folder")
    if data.exists() and any(data.iterdir()):
        raise InvalidInput("data", f"{data} is not empty: move it away first, or restore into another folder")
    with draft_of(data) as draft:
        for name, copied in found.files.items():
            path = draft / name
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            shutil.copy2(backup / _DATA / name, path)
            path.chmod(0o600)
            check_digest(backup / _DATA / name, copied.sha256, path)
    DataDirectory(data).open()
    return found


def read(backup: Path) -> Backup:
    """What a backup holds, without looking at its files' content. Raises InvalidInput or ConfigError."""
    found = read_manifest(backup, Backup, FORMAT)
    for name in found.files:
        # What a name like this leads out of the folder was never written by `back_up`.
        if name.startswith("/") or ".." in Path(name).parts:
            raise ConfigError(
                f"{backup / MANIFEST} is damaged: {name[:80]!r} is no file of a data directory; use another backup"
            )
        check_there(backup / _DATA / name)
    return found


def _copy_all(data: Path, copy: Path, objects: Path | None) -> dict[str, int]:
    """Copy everything but objects; returns how many documents each collection has."""
    _copy_database(data, copy, Path("store") / "states.db")
    for topic in sorted((data / "bus" / "topics").glob("*")):
        for pattern in ("groups-*.db", "log-*.db"):
            for path in sorted(topic.glob(pattern)):
                _copy_database(data, copy, path.relative_to(data))
    documents = Path("store") / "documents"
    counts = {}
    if _copy_database(data, copy, documents / "collections.db"):
        for name, identity in _collections(copy / documents / "collections.db"):
            for path in (data / documents).glob(f"*.{identity}.db"):
                # One that was dropped since is forgotten; the coverage is counted again before it is believed.
                if _copy_database(data, copy, path.relative_to(data)):
                    counts[name] = _count(copy / path.relative_to(data))
    _copy_database(data, copy, Path("store") / "edges.db")
    for path in _plain_files(data):
        if objects is None or objects not in path.parents:
            _copy_file(data, copy, path.relative_to(data))
    _forget_unfinished_topics(copy)
    return counts


def _plain_files(data: Path) -> Iterator[Path]:
    """What is no database, and not about the processes of this moment."""
    for path in sorted(data.rglob("*")):
        parts = path.relative_to(data).parts
        passing = path.name in _LEFT_OUT or path.name.endswith((".db", ".db-wal", ".db-shm", ".tmp"))
        if not passing and "members" not in parts and not parts[-1].startswith(".") and path.is_file():
            yield path


def _copy_objects(objects: Path, copy: Path) -> None:
    """Copy what is not being written; what is known of the contents last: it has that of the one before, too."""
    names = sorted(path.relative_to(objects) for path in objects.rglob("*") if path.is_file())
    for name in sorted(names, key=lambda one: one.parts[0] == _CHECKSUMS):
        if name.parts[0] not in _UNFINISHED:
            _copy_file(objects, copy, name)


def _copy_database(data: Path, copy: Path, name: Path) -> bool:
    """Copy one snapshot of a database, and check it; whether it was there to its end."""
    source, target = data / name, copy / name
    try:
        with closing(sqlite.connect(source, create=False)) as reading:
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with sqlite.translated(source, "copy"), closing(sqlite3.connect(target, isolation_level=None)) as writing:
                reading.backup(writing)
                found = writing.execute("PRAGMA quick_check(1)").fetchone()[0]
    except FileNotFoundError:
        return False
    if found != "ok":
        raise ConfigError(f"{source} is broken ({found}): its backup would be, too; restore an older one")
    if not source.exists():  # removed meanwhile: what was opened may lack the end of it
        sqlite.remove(target)
        return False
    for suffix in ("-wal", "-shm"):
        Path(f"{target}{suffix}").unlink(missing_ok=True)
    return True


def _copy_file(data: Path, copy: Path, name: Path) -> None:
    target = copy / name
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        shutil.copy2(data / name, target)  # with its time, which is the end of a job
    except FileNotFoundError:
        target.unlink(missing_ok=True)


def _forget_unfinished_topics(copy: Path) -> None:
    """Remove what is left of topics that were being made or removed."""
    for folder in (copy / "bus" / "topics").glob("*"):
        if not (any(folder.glob("log-*.db")) and (folder / "name").exists()):
            shutil.rmtree(folder)


def _collections(catalogue: Path) -> list[tuple[str, int]]:
    with sqlite.translated(catalogue, "read"), closing(sqlite3.connect(catalogue)) as connection:
        return [(str(name), int(identity)) for name, identity in connection.execute("SELECT name, id FROM collections")]


def _count(path: Path) -> int:
    """How many documents a copied collection has, of which records lie in tables of their series."""
    tables = (
        "SELECT name FROM sqlite_master WHERE type = 'table' AND (name = 'documents' OR name GLOB 'records_[0-9]*')"
    )
    with sqlite.translated(path, "read"), closing(sqlite3.connect(path)) as connection:
        return sum(
            int(connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0])  # noqa: S608 - a table's own name
            for (name,) in connection.execute(tables).fetchall()
        )
