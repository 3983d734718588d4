"""The commands `backup` and `restore`: files are copied as they are, what lies in ArangoDB as JSON lines."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from streamforge import wiring
from streamforge.cli import command_options as o
from streamforge.cli import terminal
from streamforge.cli.checks.bus_check import leftovers
from streamforge.cli.client import to_json
from streamforge.cli.command_errors import UsageProblem
from streamforge.cli.session import Mode, Where, session
from streamforge.manager.backup import service as store_backup
from streamforge.manager.persistence.lease import fenced, managed_store
from streamforge.version import installed_version
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.ports.backup_folder import MANIFEST
from streamforge_utils.ports.clock import SystemClock
from streamforge_utils.ports.store import Store
from streamforge_utils.runtime.life.environment import load
from streamforge_utils.runtime.life.object_settings import FOLDER as OBJECTS
from streamforge_utils.runtime.life.object_settings import ObjectSettings
from streamforge_utils.runtime.life.server_settings import ArangoSettings
from streamforge_utils.runtime.life.settings import DataSettings

_ON_KAFKA = (
    "the topics are Kafka's (KAFKA_BOOTSTRAP_SERVERS) and not in it: docs/how-to/backup.md tells what of them to keep"
)
_OBJECTS = "objects (segments of order books, what retention removed, data sets) are in {}, not in it: copy them, too"


def backup(
    target: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder for the copy.")],
    where: o.AtData,
    as_json: o.Json = False,
) -> int:
    """Copy the data directory to a new folder, while a manager and its workers go on.

    DIR appears when the copy is whole, checked and on the disk. It holds records, coverage, workflows, their events,
    topics and jobs as of one moment; no token and no password. Where ArangoDB is the store (ARANGO_URL), its database
    is copied instead, as JSON lines. Topics on Kafka are in neither. Objects are in the copy of a data directory, also
    where they lie in another folder; those in a bucket, or beside ArangoDB, are not: copy them behind it.
    """
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    place, (database, settings) = _absolute(target), _database()
    objects = load(ObjectSettings, os.environ)
    if database:
        kept: Any = asyncio.run(_back_up(settings, place, made_at=now))
    else:
        asyncio.run(_tidied(where.folder))
        kept = wiring.back_up(where.folder, place, objects, made_at=now)
    _tell("backed up", database or where.folder, target, kept, as_json=as_json)
    if os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        terminal.say(_ON_KAFKA)
    folder = objects.folder_in(where.folder)
    if folder is None or (database and folder.is_dir()):
        terminal.say(_OBJECTS.format(folder or objects.url))
    return 0


def restore(
    source: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `backup` made.")],
    where: o.AtData,
    as_json: o.Json = False,
) -> int:
    """Make the data directory from a backup, after each of its files was compared with its checksum.

    The data directory must be empty or absent, so that nothing is overwritten; of a database (ARANGO_URL) the same.
    Workflows that were under way when the backup was made go on with the next manager.
    """
    place, (database, settings) = _absolute(source), _database()
    of_database = _is_of_database(place)
    if of_database and not database:
        raise UsageProblem(f"{source} is the backup of a database: name an empty one (ARANGO_URL and its companions)")
    if database and not of_database:
        raise UsageProblem(
            f"{source} is the backup of a data directory, and the store is ArangoDB (ARANGO_URL): unset ARANGO_URL"
        )
    if database:
        kept: Any = asyncio.run(_restore(settings, place))
    else:
        kept = wiring.restore(place, where.folder)
    _tell("restored", source, database or where.folder, kept, as_json=as_json)
    objects, copied = load(ObjectSettings, os.environ), where.folder / OBJECTS
    if not database and objects.url and copied.is_dir():
        named = f"STREAMFORGE_OBJECTS_URL names {objects.url}"
        terminal.say(f"objects are in {copied}, and {named}: put them there, or unset it")
    return 0


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path.expanduser()))


def _database() -> tuple[str, Any]:
    """The database that is the store, for people, and the settings that name it; empty where the store is files."""
    arango = load(ArangoSettings, os.environ)
    return f"{arango.url} (database {arango.database})" if arango.url else "", DataSettings(arango=arango)


def _is_of_database(source: Path) -> bool:
    """Whether the backup is one of a database. What cannot be read is told by what restores it."""
    try:
        manifest = msgspec.json.decode((source / MANIFEST).read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError):
        return False
    return manifest.get("holds") == store_backup.HOLDS


async def _tidied(folder: Path) -> None:
    """Remove what is kept no longer, so that it is not copied; say what of ended workflows will be."""
    if not (folder / wiring.STORE).is_dir() or os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        return
    with suppress(StreamForgeError):  # of a broken file the copy itself tells
        async with session(Where(data=folder), Mode.READ):
            pass  # what a command does beside its work
        if left := await leftovers(folder):
            terminal.say(f"the copy holds all topics; {left}")


def _tell(done: str, source: Path | str, target: Path | str, made: Any, *, as_json: bool) -> None:
    """made: the manifest of the backup, of either sort."""
    documents: dict[str, int] = made.documents
    of_database = hasattr(made, "states")
    if as_json:
        told = {"from": str(source), "to": str(target), "made_at": made.made_at, "made_by": made.made_by}
        more = {"states": made.states} if of_database else {"topics": made.topics}
        terminal.write(to_json(told | more | {"documents": documents} | ({} if of_database else {"bytes": made.size})))
        return
    held = f"{len(documents)} collections with {sum(documents.values()):,} documents"
    held = (
        f"{held}, {made.states:,} states" if of_database else f"{made.topics} topics, {held}, {made.size / 1e6:.1f} MB"
    )
    terminal.write(f"{done} {source} to {target}: {held}, as of {made.made_at}")


async def _back_up(settings: DataSettings, target: Path, *, made_at: str) -> store_backup.StoreBackup:
    """Copy the database to the new folder `target`. Raises as `store_backup.back_up`."""
    async with _connected(settings) as store:
        return await store_backup.back_up(store, target, made_at=made_at, made_by=installed_version())


async def _restore(settings: DataSettings, source: Path) -> store_backup.StoreBackup:
    """Bring a backup into the empty database. Raises as `store_backup.restore`, or ConfigError: a manager has it."""
    from streamforge.cli.own_manager import starter
    from streamforge.manager.startup import claim_on

    claim = claim_on(settings, starter("streamforge restore"), drives=False)
    # No manager drives what is there while it is not whole; one that does so now is named.
    async with _connected(settings) as store, managed_store(store, SystemClock(), claim) as lease:
        assert lease is not None  # noqa: S101 - a database is shared
        keeping = asyncio.create_task(lease.keep(), name="lease")
        restoring = asyncio.create_task(store_backup.restore(fenced(store, lease.check), source), name="restore")
        try:
            await asyncio.wait({keeping, restoring}, return_when=asyncio.FIRST_COMPLETED)
            if keeping.done():
                keeping.result()  # raises: another manager has it
            return await restoring
        finally:
            for task in (keeping, restoring):
                task.cancel()
            await asyncio.gather(keeping, restoring, return_exceptions=True)


@asynccontextmanager
async def _connected(settings: DataSettings) -> AsyncIterator[Store]:
    store = wiring.make_store(settings)
    try:
        await store.connect()
        yield store
    finally:
        await store.close()
