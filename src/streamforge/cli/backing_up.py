"""What `backup` and `restore` do: files are copied as they are, what lies in ArangoDB as JSON lines."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streamforge import wiring
from streamforge.cli import output
from streamforge.cli.errors import UsageProblem
from streamforge.cli.leftovers import leftovers
from streamforge.cli.places import data_directory
from streamforge.cli.session import Mode, Where, session
from streamforge.manager.persistence import store_backup
from streamforge.manager.persistence.fenced_store import FencedStore
from streamforge.manager.persistence.installation import Claim
from streamforge.manager.persistence.lease import managed_store
from streamforge.version import installed_version
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.ports.clock import SystemClock
from streamforge_utils.ports.store import Store
from streamforge_utils.runtime.arango import ArangoSettings
from streamforge_utils.runtime.environment import load
from streamforge_utils.runtime.settings import DataSettings

_ON_KAFKA = "the topics are Kafka's (KAFKA_BOOTSTRAP_SERVERS) and not in it: docs/backup.md tells what of them to keep"


def backup(target: Path, data: Path | None, *, as_json: bool) -> int:
    """Copy what there is to the new folder `target`."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    place, arango = Path(os.path.abspath(target.expanduser())), load(ArangoSettings, os.environ)
    if arango.url:
        kept = asyncio.run(_back_up_store(arango, place, now))
        _tell_store("backed up", f"{arango.url} (database {arango.database})", target, kept, as_json=as_json)
    else:
        folder = data_directory(data)
        asyncio.run(_tidied(folder))
        _tell("backed up", folder, target, wiring.back_up(folder, place, made_at=now), as_json=as_json)
    if os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        output.say(_ON_KAFKA)
    return 0


async def _tidied(folder: Path) -> None:
    """Remove what is kept no longer, so that it is not copied; say what of ended workflows will be."""
    if not (folder / wiring.STORE).is_dir() or os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        return
    with suppress(StreamForgeError):  # of a broken file the copy itself tells
        async with session(Where(data=folder), Mode.READ):
            pass  # what a command does beside its work
        if left := (await leftovers(folder)).told:
            output.say(f"the copy holds all topics; {left}")


def restore(source: Path, data: Path | None, *, as_json: bool) -> int:
    """Bring back what a backup holds, to where it was or to what the settings name now."""
    place, arango = Path(os.path.abspath(source.expanduser())), load(ArangoSettings, os.environ)
    of_store = _holds(place) == store_backup.HOLDS
    if of_store and arango.url:
        kept = asyncio.run(_restore_store(arango, place))
        _tell_store("restored", str(source), f"{arango.url} (database {arango.database})", kept, as_json=as_json)
        return 0
    if of_store:
        raise UsageProblem(f"{source} is the backup of a database: name an empty one (ARANGO_URL and its companions)")
    if arango.url:
        raise UsageProblem(
            f"{source} is the backup of a data directory, and the store is ArangoDB (ARANGO_URL): unset ARANGO_URL"
        )
    folder = data_directory(data)
    _tell("restored", source, folder, wiring.restore(place, folder), as_json=as_json)
    return 0


def _holds(source: Path) -> str:
    """What the backup is of; what cannot be read is told by who restores it."""
    try:
        return str(json.loads((source / store_backup.MANIFEST).read_bytes()).get("holds", ""))
    except (OSError, ValueError, AttributeError):
        return ""


async def _back_up_store(arango: ArangoSettings, target: Path, now: str) -> store_backup.StoreBackup:
    async with _store(arango) as store:
        return await store_backup.back_up(store, target, made_at=now, made_by=installed_version())


async def _restore_store(arango: ArangoSettings, source: Path) -> store_backup.StoreBackup:
    place = wiring.store_place(DataSettings(arango=arango))
    claim = Claim(
        name=f"`streamforge restore` (process {os.getpid()} on {socket.gethostname()})",
        where=place.where,
        elsewhere=place.elsewhere,
        switch="--exchange ",
        shared=place.shared,
        drives=False,
        tell=output.say,
    )
    # No manager drives what is there while it is not whole; one that does so now is named.
    async with _store(arango) as store, managed_store(store, SystemClock(), claim) as lease:
        assert lease is not None  # noqa: S101 - a database is shared
        keeping = asyncio.create_task(lease.keep(), name="lease")
        restoring = asyncio.create_task(store_backup.restore(FencedStore(store, lease.check), source), name="restore")
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
async def _store(arango: ArangoSettings) -> AsyncIterator[Store]:
    store = wiring.make_store(DataSettings(arango=arango))
    try:
        await store.connect()
        yield store
    finally:
        await store.close()


def _tell_store(done: str, source: str, target: Path | str, made: store_backup.StoreBackup, *, as_json: bool) -> None:
    if as_json:
        told: dict[str, Any] = {"from": source, "to": str(target), "made_at": made.made_at, "made_by": made.made_by}
        output.write(
            json.dumps(told | {"states": made.states, "documents": made.documents}, indent=2, ensure_ascii=False)
        )
        return
    held = f"{len(made.documents)} collections with {sum(made.documents.values()):,} documents, {made.states:,} states"
    output.write(f"{done} {source} to {target}: {held}, as of {made.made_at}")


def _tell(done: str, source: Path, target: Path, made: Any, *, as_json: bool) -> None:
    if as_json:
        told = {"from": str(source), "to": str(target), "made_at": made.made_at, "made_by": made.made_by}
        told |= {"topics": made.topics, "documents": made.documents, "bytes": made.size}
        output.write(json.dumps(told, indent=2, ensure_ascii=False))
        return
    records = sum(made.documents.values())
    held = (
        f"{made.topics} topics, {len(made.documents)} collections with {records:,} documents, {made.size / 1e6:.1f} MB"
    )
    output.write(f"{done} {source} to {target}: {held}, as of {made.made_at}")
