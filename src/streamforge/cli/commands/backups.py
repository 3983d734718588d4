"""backup and restore."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamforge.cli import options as o


def backup(
    target: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder for the copy.")],
    data: o.Data = None,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Copy the data directory to a new folder, while a manager and its workers go on.

    DIR appears when the copy is whole, checked and on the disk. It holds records, coverage, workflows, their events,
    topics and jobs as of one moment; no token and no password. Where ArangoDB is the store (ARANGO_URL), its database
    is copied instead, as JSON lines. Topics on Kafka are in neither.
    """
    from streamforge.cli.backing_up import backup as work

    o.debugging(debug)
    return work(target, data, as_json=as_json)


def restore(
    source: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `backup` made.")],
    data: o.Data = None,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Make the data directory from a backup, after each of its files was compared with its checksum.

    The data directory must be empty or absent, so that nothing is overwritten; of a database (ARANGO_URL) the same.
    Workflows that were under way when the backup was made go on with the next manager.
    """
    from streamforge.cli.backing_up import restore as work

    o.debugging(debug)
    return work(source, data, as_json=as_json)
