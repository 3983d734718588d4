"""A copy of what a store holds, as JSON lines, and the way back into an empty one, for any kind of store.

States are copied before documents, so what the coverage calls stored was stored before its documents were read. What
others change meanwhile may be in the copy or not. Nothing uses edges yet, and a store does not name their collections.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from streamforge.manager.batches import store as batch_store
from streamforge.manager.coverage import store as coverage_store
from streamforge.manager.engine.persistence import bans, dealt_connects, workflow_store
from streamforge.manager.graphs import store as graph_store
from streamforge.manager.health import store_usage
from streamforge.manager.models import store as model_store
from streamforge.manager.persistence import installation, removal_notes, reservations
from streamforge.manager.schedules import store as schedule_store
from streamforge_utils.model.errors import ConfigError, ConflictError, InvalidInput, PermanentError
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
from streamforge_utils.ports.store import Document, Outcome, Store, count_outcomes, states_of

T = TypeVar("T")

FORMAT: Final = 1
HOLDS: Final = "store"
KINDS: Final = (
    workflow_store.KIND,
    batch_store.KIND,
    batch_store.MEMBERS_KIND,
    schedule_store.KIND,
    schedule_store.RUN_KIND,
    removal_notes.KIND,
    coverage_store.KIND,
    graph_store.KIND,
    model_store.KIND,
    store_usage.KIND,
    reservations.KEY_KIND,
    reservations.CODE_KIND,
    bans.KIND,
    dealt_connects.KIND,
    "kubernetes-job",
    "kubernetes-instance",
)
"""Every kind of state that is kept as it is; a store does not name them.

What a store says of itself is kept without the lease of the manager that lives.
"""
_PAGE: Final = 5000
_STATES: Final = "states.jsonl.gz"


class StoreBackup(msgspec.Struct, frozen=True, kw_only=True):
    """What `backup.json` holds. made_at: ISO 8601, UTC. documents: how many each collection has. files: SHA-256."""

    format: int = FORMAT
    holds: str = HOLDS
    made_at: str
    made_by: str
    states: int
    documents: dict[str, int]
    files: dict[str, str]


class _Line(msgspec.Struct, frozen=True, array_like=True):
    key: str
    version: int
    body: msgspec.Raw


class _StateLine(msgspec.Struct, frozen=True, array_like=True):
    kind: str
    id: str
    labels: dict[str, str]
    created_ms: int
    body: str


async def back_up(store: Store, target: Path, *, made_at: str, made_by: str) -> StoreBackup:
    """Copy the store to the new folder `target`, which appears when it is whole.

    Raises InvalidInput (a target that exists), RetryableError or ConfigError.
    """
    check_new(target)
    with draft_of(target) as draft:
        states = 0
        about, revision = await installation.Installations(store).read()
        with gzip.open(draft / _STATES, "wb", compresslevel=3) as file:
            if revision is not None:
                file.write(msgspec.json.encode(_about(about)) + b"\n")
                states += 1
            for kind in KINDS:
                async for state in states_of(store, kind):
                    line = _StateLine(kind, state.id, state.labels, state.created_ms, state.body.decode())
                    file.write(msgspec.json.encode(line) + b"\n")
                    states += 1
        documents: dict[str, int] = {}
        files = {_STATES: sha256(draft / _STATES)}
        for number, name in enumerate(await store.names()):
            path = draft / _file(number)
            documents[name] = await _copy(store, name, path)
            files[path.name] = sha256(path)
        backup = StoreBackup(made_at=made_at, made_by=made_by, states=states, documents=documents, files=files)
        write_manifest(draft, backup)
    return backup


async def restore(store: Store, source: Path) -> StoreBackup:
    """Bring a backup into an empty store, after its files were compared with their checksums.

    Cut short, it leaves a store that is not empty: remove what is there, and begin again.
    Raises InvalidInput (no such backup; the store holds something), ConfigError (a damaged one), RetryableError.
    """
    found = read(source)
    for file, digest in found.files.items():
        check_digest(source / file, digest)
    if await store.names() or [kind for kind in KINDS if await store.find(kind, limit=1)]:
        raise InvalidInput("store", "the store is not empty: restore into an empty database")
    for number, name in enumerate(found.documents):
        lines = _lines(source / _file(number), _Line)
        while page := [Document(line.key, line.version, bytes(line.body)) for line in islice(lines, _PAGE)]:
            answers = await store.upsert(name, page)
            if refused := count_outcomes(answers).get(Outcome.REFUSED, 0):
                raise PermanentError(f"the store refuses {refused} documents of {name}: is it another version?")
        await store.flush(name)
    # Behind the documents: what they say is stored is there.
    for line in _lines(source / _STATES, _StateLine):
        if line.kind == installation.KIND:
            await _restore_about(store, line.body.encode())
            continue
        await store.put(
            line.kind, line.id, line.body.encode(), expected=None, labels=line.labels, created_ms=line.created_ms
        )
    return found


def read(source: Path) -> StoreBackup:
    """What a backup holds. Raises InvalidInput or ConfigError."""
    found = read_manifest(source, StoreBackup, FORMAT)
    for file in [_STATES, *map(_file, range(len(found.documents)))]:
        if file not in found.files:
            raise ConfigError(f"{source / MANIFEST} is damaged: it lacks {file}; use another backup")
        check_there(source / file)
    return found


def _file(number: int) -> str:
    return f"documents-{number:06}.jsonl.gz"


def _about(kept: installation.Installation) -> _StateLine:
    body = installation.encode(msgspec.structs.replace(kept, holder=None))
    return _StateLine(installation.KIND, installation.ID, {}, 0, body.decode())


async def _restore_about(store: Store, body: bytes) -> None:
    """Let the store say of itself what the other one said; who manages it now goes on to."""
    wanted, there = installation.decode(body), installation.Installations(store)
    while True:
        kept, revision = await there.read()
        try:
            await there.write(msgspec.structs.replace(wanted, holder=kept.holder), revision)
        except ConflictError:
            continue  # the one who restores has renewed the lease
        return


async def _copy(store: Store, name: str, path: Path) -> int:
    count, first = 0, ""
    with gzip.open(path, "wb", compresslevel=3) as file:
        while page := await store.read(name, first=first, limit=_PAGE):
            file.write(_encoded(page))
            count += len(page)
            first = page[-1].key + "\0"
    return count


def _encoded(page: Sequence[Document]) -> bytes:
    return msgspec.json.Encoder().encode_lines([_Line(one.key, one.version, msgspec.Raw(one.body)) for one in page])


def _lines(path: Path, kind: type[T]) -> Iterator[T]:
    decoder = msgspec.json.Decoder(kind)
    with gzip.open(path, "rb") as file:
        for line in file:
            yield decoder.decode(line)
