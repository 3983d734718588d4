"""Collections as objects: JSON lines in compressed parts, and a manifest that is put once all of them are proven.

btcusdt_api_trades_2024_08_01/9f86d081884c7d65/   one try: no other one, of whichever manager, uses its name
    00001.jsonl.gz   documents as they can be imported again, with `_key` and `_version`
    _manifest.json   how many there are, and the checksums; without it the parts are no export
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import re
import secrets
import zlib
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing, suppress

import msgspec

from streamforge_utils.model.errors import RetryableError, StreamForgeError
from streamforge_utils.model.kinds.registry import as_exported, type_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange, format_ms
from streamforge_utils.ports.object_store import ObjectStore
from streamforge_utils.ports.store import Document, DocumentStore

MANIFEST = "_manifest.json"
_SUFFIX = ".jsonl.gz"
_PART = re.compile(r"([^/]+/[0-9a-f]{16})/[0-9]{5,}\.jsonl\.gz", re.ASCII)
_PART_BYTES = 8 << 20
"""Of the lines of a part, which are held in memory, of some collections at once."""
_RECORDS_A_PAGE = 5000


class ExportedSeries(msgspec.Struct, frozen=True, kw_only=True):
    """What coverage called stored in the collection."""

    symbol: str
    type: str
    start: str
    end: str


class ExportedPart(msgspec.Struct, frozen=True, kw_only=True):
    """One object. sha256: of its compressed content."""

    file: str
    records: int
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What was exported. sha256: of the lines of all parts, in their order."""

    format: int = 1
    collection: str
    records: int
    sha256: str
    series: list[ExportedSeries]
    parts: list[ExportedPart]


class Exported(msgspec.Struct, frozen=True):
    """A whole export. name: of the folder of its objects. digest: the SHA-256 of its lines."""

    name: str
    records: int
    digest: str


def new_token() -> str:
    return secrets.token_hex(8)


class CollectionExport:
    """Writes collections of a store into a store of objects. Every method raises StreamForgeError.

    new_token: gives 16 hexadecimal digits that it gave to nobody before.
    """

    def __init__(self, store: DocumentStore, objects: ObjectStore, new_token: Callable[[], str] = new_token) -> None:
        self._store, self._objects, self._new_token = store, objects, new_token

    async def write(self, collection: str, places: Iterable[tuple[Series, TimeRange]]) -> Exported:
        """Put a collection under a name of its own, and read it back; it is there whole or not at all."""
        # Another manager may export the same collection meanwhile: what one removes must not be what the other put.
        name = f"{collection}/{self._new_token()}"
        try:
            return await self._write(name, collection, places)
        except BaseException:
            with suppress(StreamForgeError):  # what stays has no manifest
                await self.remove(name)
            raise

    async def digest(self, collection: str) -> str:
        """The hash of what would be exported now."""
        digest = hashlib.sha256()
        async with aclosing(self._pages(collection)) as pages:
            async for page in pages:
                digest.update(b"".join(map(_line, page)))
        return digest.hexdigest()

    async def remove(self, name: str) -> None:
        """Remove an export, its manifest first."""
        await self._objects.delete([f"{name}/{MANIFEST}"])
        parts = [one.name async for one in self._objects.list(f"{name}/") if one.name.endswith(_SUFFIX)]
        await self._objects.delete(parts)

    async def remove_cut_short(self, before_ms: int) -> None:
        """Remove the parts of exports without a manifest for which nothing has been put since `before_ms`."""
        newest_ms: dict[str, int] = {}
        async for one in self._objects.list():
            if found := _PART.fullmatch(one.name):
                newest_ms[found[1]] = max(newest_ms.get(found[1], 0), one.modified_ms)
            elif one.name.endswith(f"/{MANIFEST}"):  # listed behind its parts
                newest_ms.pop(one.name.removesuffix(f"/{MANIFEST}"), None)
        for name, put_ms in newest_ms.items():
            if put_ms < before_ms:
                await self.remove(name)

    async def _write(self, name: str, collection: str, places: Iterable[tuple[Series, TimeRange]]) -> Exported:
        parts: list[ExportedPart] = []
        digest, held = hashlib.sha256(), list[bytes]()

        async def put() -> None:
            text = b"".join(held)
            packed = await asyncio.to_thread(gzip.compress, text, 6, mtime=0)
            file = f"{len(parts) + 1:05d}{_SUFFIX}"
            await self._objects.put(f"{name}/{file}", packed)
            sha256 = hashlib.sha256(packed).hexdigest()
            parts.append(ExportedPart(file=file, records=text.count(b"\n"), bytes=len(packed), sha256=sha256))
            held.clear()

        async with aclosing(self._pages(collection)) as pages:
            async for page in pages:
                held.append(b"".join(map(_line, page)))
                digest.update(held[-1])
                if sum(map(len, held)) >= _PART_BYTES:
                    await put()
        if held:
            await put()
        if await self._read_back(name, parts) != digest.hexdigest():
            raise RetryableError(f"the export {name} does not hold what was put there: see to the store of objects")
        manifest = Manifest(
            collection=collection,
            records=sum(part.records for part in parts),
            sha256=digest.hexdigest(),
            series=[
                ExportedSeries(
                    symbol=series.symbol,
                    type=type_of(series),
                    start=format_ms(span.start_ms),
                    end=format_ms(span.end_ms),
                )
                for series, span in places
            ],
            parts=parts,
        )
        await self._objects.put(f"{name}/{MANIFEST}", msgspec.json.format(msgspec.json.encode(manifest), indent=1))
        return Exported(name, manifest.records, manifest.sha256)

    async def _read_back(self, name: str, parts: Sequence[ExportedPart]) -> str:
        """The hash of the lines that the objects hold."""
        digest = hashlib.sha256()
        for part in parts:
            packed = b"".join([block async for block in self._objects.get(f"{name}/{part.file}")])
            try:
                digest.update(await asyncio.to_thread(gzip.decompress, packed))
            except (EOFError, OSError, zlib.error) as error:
                raise RetryableError(f"the export {name}/{part.file} is damaged: {error}") from error
        return digest.hexdigest()

    async def _pages(self, collection: str) -> AsyncGenerator[Sequence[Document], None]:
        first = ""
        while page := await self._store.read(collection, first=first, limit=_RECORDS_A_PAGE):
            yield page
            first = page[-1].key + "\x00"


def _line(document: Document) -> bytes:
    """The document as it can be imported again: with its key and its version."""
    rest = as_exported(document.key, document.body).strip()[1:].lstrip()
    comma = b"" if rest == b"}" else b","
    return b'{"_key":%b,"_version":%d%b%b\n' % (msgspec.json.encode(document.key), document.version, comma, rest)
