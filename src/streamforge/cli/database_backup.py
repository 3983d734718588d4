"""The backup of a store that is a database, and the way back, which no manager disturbs."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from streamforge import wiring
from streamforge.cli import terminal
from streamforge.manager.persistence import store_backup
from streamforge.manager.persistence.fenced_store import fenced
from streamforge.manager.persistence.installation import Claim
from streamforge.manager.persistence.lease import managed_store
from streamforge.version import installed_version
from streamforge_utils.ports.clock import SystemClock
from streamforge_utils.ports.store import Store
from streamforge_utils.runtime.settings import DataSettings


async def back_up(settings: DataSettings, target: Path, *, made_at: str) -> store_backup.StoreBackup:
    """Copy the database to the new folder `target`. Raises as `store_backup.back_up`."""
    async with _connected(settings) as store:
        return await store_backup.back_up(store, target, made_at=made_at, made_by=installed_version())


async def restore(settings: DataSettings, source: Path) -> store_backup.StoreBackup:
    """Bring a backup into the empty database. Raises as `store_backup.restore`, or ConfigError: a manager has it."""
    place = wiring.store_place(settings)
    claim = Claim(
        name=f"`streamforge restore` (process {os.getpid()} on {socket.gethostname()})",
        where=place.where,
        elsewhere=place.elsewhere,
        switch="--exchange ",
        shared=place.shared,
        drives=False,
        tell=terminal.say,
    )
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
