"""The command `doctor`: what StreamForge stands on, each part with the reason if it does not work, and what to do."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from streamforge.cli import command_options as o
from streamforge.cli import terminal
from streamforge.cli.checks.bus_check import check_bus
from streamforge.cli.checks.launcher_check import check_launcher
from streamforge.cli.checks.objects_check import check_objects
from streamforge.cli.checks.place_checks import (
    Subject,
    check_data,
    check_disk,
    check_exchange,
    check_manager,
    check_server,
    check_settings,
    nearest,
)
from streamforge.cli.checks.schedule_check import check_schedules
from streamforge.cli.checks.store_check import check_store
from streamforge.cli.checks.stream_check import check_streams
from streamforge.cli.client import to_json
from streamforge.cli.session import Where
from streamforge.manager.health.findings import fails
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.ports.provisioning import Finding

if TYPE_CHECKING:
    from rich.text import Text

CHECK_S = 20.0
"""How long one check may take."""

Check = Callable[[Subject], AsyncIterator[Finding]]
_PLACE: dict[str, Check] = {
    "settings": check_settings,
    "disk": check_disk,
    "data": check_data,
    "manager": check_manager,
}
_PARTS: dict[str, Check] = {
    "bus": check_bus,
    "store": check_store,
    "objects": check_objects,
    "launcher": check_launcher,
    "exchange": check_exchange,
    "streams": check_streams,
    "schedules": check_schedules,
}
"""Checks that need a folder to try things in, which there is where the disk can be written."""


async def doctor(where: o.AtManagerAndWorkers, as_json: o.Json = False) -> int:
    """Check what StreamForge stands on: disk, data, bus, store, objects, launcher, exchange, streams. If one fails, the
    exit code is 1.

    It changes nothing: what it tries, it tries in a folder that it removes again.
    """
    where.check()
    found = await _findings(where)
    ok = all(one.verdict != "fails" for one in found)
    if as_json:
        terminal.write(to_json({"ok": ok, "checks": found}))
    else:
        rows: list[list[str | Text]] = [
            [one.part, terminal.styled(one.verdict), one.detail + (f"; {one.next_step}" if one.next_step else "")]
            for one in found
        ]
        terminal.table(["part", "", "what was found"], rows)
    return 0 if ok else 1


async def _findings(where: Where) -> list[Finding]:
    folder = where.folder
    subject = Subject(where, folder, folder)
    if where.server is not None:
        return await _run({"server": check_server, "schedules": check_schedules}, subject)
    found = await _run(_PLACE, subject)
    try:
        probe = tempfile.TemporaryDirectory(
            prefix=".streamforge-doctor-", dir=nearest(folder), ignore_cleanup_errors=True
        )
    except OSError:
        return found
    with probe as path:
        return found + await _run(_PARTS, msgspec.structs.replace(subject, probe=Path(path)))


async def _run(checks: dict[str, Check], subject: Subject) -> list[Finding]:
    return [one for part, check in checks.items() for one in await _bounded(part, check, subject)]


async def _bounded(part: str, check: Check, subject: Subject) -> list[Finding]:
    """What a check finds, the part itself first; that it fails where it raises or takes too long."""
    found: list[Finding] = []
    try:
        with terminal.said_late(f"still checking: {part}"):
            async with asyncio.timeout(CHECK_S):
                async for one in check(subject):
                    found.append(one)  # noqa: PERF401 - what was found before a failure is told
    except TimeoutError:
        found.append(fails(part, f"no answer within {CHECK_S:.0f} s", "is the machine overloaded?"))
    except (StreamForgeError, OSError) as error:
        found.append(fails(part, str(error)))
    except Exception as error:  # a check reports all that is wrong
        found.append(fails(part, f"{type(error).__name__}: {error}"))
    return sorted(found, key=lambda one: one.part != part)
