"""What `backup` and `restore` do."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streamforge import wiring
from streamforge.cli import output
from streamforge.cli.errors import UsageProblem
from streamforge.cli.places import data_directory

_ELSEWHERE = {
    "ARANGO_URL": "the store is ArangoDB (ARANGO_URL), whose data lie on its server: docs/backup.md tells how to back "
    "that up; unset ARANGO_URL to copy a data directory",
    "KAFKA_BOOTSTRAP_SERVERS": "the bus is Kafka (KAFKA_BOOTSTRAP_SERVERS), whose topics are not in a data directory: "
    "docs/backup.md tells what of them to keep; unset it to copy a data directory",
}


def backup(target: Path, data: Path | None, *, as_json: bool) -> int:
    """Copy the data directory to the new folder `target`."""
    _only_files(os.environ)
    folder = data_directory(data)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    made = wiring.back_up(folder, Path(os.path.abspath(target.expanduser())), made_at=now)
    _tell("backed up", folder, target, made, as_json=as_json)
    return 0


def restore(source: Path, data: Path | None, *, as_json: bool) -> int:
    """Make the data directory from a backup."""
    _only_files(os.environ)
    folder = data_directory(data)
    made = wiring.restore(Path(os.path.abspath(source.expanduser())), folder)
    _tell("restored", source, folder, made, as_json=as_json)
    return 0


def _only_files(environ: Mapping[str, str]) -> None:
    for name, why in _ELSEWHERE.items():
        if environ.get(name):
            raise UsageProblem(why)


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
