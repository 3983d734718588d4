"""Objects in a bucket of an S3 server, through obstore.

The checksum is metadata of the object (`x-amz-meta-sha256`). A large file goes up in parts, which become an object by
the last request; parts of an upload that was cut short are not to be seen, and take room until the bucket removes them.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError
from obstore.store import S3Store

from streamforge_utils.adapters.object_storage.bucket_errors import ERRORS, is_missing_object, problem_of
from streamforge_utils.model.errors import ConfigError, InvalidInput, PermanentError, RetryableError
from streamforge_utils.model.secret import Secret
from streamforge_utils.ports.object_store import (
    BLOCK_BYTES,
    DamagedObject,
    NoObject,
    ObjectInfo,
    check_content,
    check_expected,
    check_object_name,
    check_object_prefix,
    conflict,
)

if TYPE_CHECKING:
    from obstore import GetResult, PutMode
    from obstore.store import ClientConfig, RetryConfig, S3Config, S3Credential

T = TypeVar("T")

CHECKSUM: Final = "sha256"
PART_BYTES: Final = 8 * 1024 * 1024
MOST_PARTS: Final = 10_000
PARTS_AT_ONCE: Final = 4
"""So many parts are in memory at once."""
KEYS_LAST_S: Final = 300.0
"""How long keys are used before they are looked up again, so that a file of keys may be replaced at any time."""
SEEN_LASTS_S: Final = 5.0
"""How long after an answer of the bucket it is not asked whether it is there."""
_DELETED_AT_ONCE = 1000
_LISTED_AT_ONCE = 500
_RETRIES = 4
_RETRY_S = 60.0
_CONNECT_S = 5.0
_SILENCE_S = 30.0
"""How long the server may send or take nothing."""
_WHOLE_S = 6 * 3600.0
"""How long one request may take, its content included."""


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks."""

    access_key: Secret
    secret_key: Secret
    session_token: Secret | None = None


class BucketPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Where the objects are. prefix: of all names, without `/` at its ends; empty: none.

    endpoint: `https://HOST[:PORT]`, or http where that is allowed. keys: looked up now and then; raises ConfigError.
    ca_path: a PEM file of the CA that signed the server's certificate.
    """

    bucket: str
    prefix: str
    endpoint: str
    region: str
    path_style: bool
    keys: Callable[[], Keys]
    ca_path: Path | None = None

    def __str__(self) -> str:
        return f"s3://{self.bucket}{f'/{self.prefix}' if self.prefix else ''} at {self.endpoint}"


class ObjectBucket:
    """The objects of a bucket whose names begin with the place's prefix. Raises ConfigError."""

    def __init__(self, place: BucketPlace) -> None:
        self._place = place
        self._folder = f"{place.prefix}/" if place.prefix else ""
        self._seen_s = float("-inf")
        self._store = _store_of(place)

    async def put(self, name: str, content: bytes | Path, *, expected: str | None = None) -> ObjectInfo:
        key = self._key(name)
        check_content(content)
        digest, size, stamp = await asyncio.to_thread(_read, content)
        part_bytes = max(PART_BYTES, -(-size // MOST_PARTS))
        putting = obstore.put_async(
            self._store,
            key,
            content,
            attributes={CHECKSUM: digest},
            mode=await self._mode(name, expected),
            use_multipart=size > part_bytes and expected is None,
            chunk_size=part_bytes,
            max_concurrency=PARTS_AT_ONCE,
        )
        try:
            await self._ask(f"object {name}", putting, conditional=expected is not None)
        except NoObject:
            if expected:
                raise conflict(f"object {name} in {self._place}") from None
            await self._require_bucket()
            _require_unchanged(content, stamp)
            raise RetryableError(
                f"object {name} in {self._place} is not stored: the server answered that it is not there; try again"
            ) from None
        _require_unchanged(content, stamp)
        found = await self.head(name)
        # It may have been replaced or deleted already.
        modified_ms = time.time_ns() // 1_000_000 if found is None else found.modified_ms
        return ObjectInfo(name=name, size=size, modified_ms=modified_ms, sha256=digest)

    async def get(self, name: str, *, start: int = 0) -> AsyncIterator[bytes]:
        key = self._key(name)
        if start:
            there = await self.head(name)
            if there is None:
                raise self._no_object(name)
            if not 0 <= start <= there.size:
                told = f"object {name} has {there.size} bytes: it cannot be read from byte {start} on"
                raise InvalidInput("start", told)
            if start == there.size:
                return
        try:
            with self._translated(f"object {name}"):
                result = await obstore.get_async(
                    self._store, key, options={"range": {"offset": start}} if start else None
                )
        except NoObject:
            await self._require_bucket()
            raise
        expected, found = result.attributes.get(CHECKSUM), hashlib.sha256()
        blocks = result.stream(min_chunk_size=BLOCK_BYTES)
        while True:
            with self._translated(f"object {name}"):
                read = bytes(await anext(blocks, b""))
            if not read:
                break
            if not start:
                await asyncio.to_thread(found.update, read)
            yield read
        if expected is not None and not start and found.hexdigest() != expected:
            raise DamagedObject(
                f"object {name} in {self._place} is damaged: its content is not what was put; read it again, and put "
                "it again if that does not help"
            )

    async def _mode(self, name: str, expected: str | None) -> PutMode:
        """The condition of a put. Raises ConflictError where it does not hold."""
        if not expected:
            return "overwrite" if expected is None else "create"
        found = await self._found(name)
        check_expected(f"object {name} in {self._place}", expected, self._info_of(found))
        return {"e_tag": found.meta["e_tag"]} if found else "create"

    async def head(self, name: str) -> ObjectInfo | None:
        return self._info_of(await self._found(name))

    async def _found(self, name: str) -> GetResult | None:
        key = self._key(name)
        try:
            with self._translated(f"object {name}"):
                # One request gives size, time and metadata; nothing of the content is read.
                return await obstore.get_async(self._store, key, options={"head": True})
        except NoObject:
            await self._require_bucket()
            return None

    def _info_of(self, result: GetResult | None) -> ObjectInfo | None:
        if result is None:
            return None
        return self._info(result.meta["path"], result.meta["size"], result.meta["last_modified"], result.attributes)

    async def list(self, prefix: str = "", *, after: str = "") -> AsyncIterator[ObjectInfo]:
        check_object_prefix(prefix)
        check_object_prefix(after)
        folder = (self._folder + prefix).rpartition("/")[0]
        offset = self._folder + after if after else None
        pages = obstore.list(self._store, folder or None, offset=offset, chunk_size=_LISTED_AT_ONCE)
        last = ""
        while True:
            with self._translated("the list of objects"):
                page = await anext(pages, None)
            if page is None:
                return
            for one in page:
                if one["path"] <= last:
                    raise PermanentError(
                        f"{self._place} lists objects in no order, as directory buckets do: use a general purpose one"
                    )
                last = one["path"]
                info = self._info(last, one["size"], one["last_modified"], {})
                if info.name.startswith(prefix):
                    yield info

    async def delete(self, names: Sequence[str]) -> None:
        keys = [self._key(name) for name in names]
        for first in range(0, len(keys), _DELETED_AT_ONCE):
            some = keys[first : first + _DELETED_AT_ONCE]
            what = f"object {names[first]}" if len(some) == 1 else f"{len(some)} objects from {names[first]} on"
            try:
                await self._ask(what, obstore.delete_async(self._store, some))
            except NoObject:
                await self._require_bucket()

    async def close(self) -> None:
        return  # connections end with the store

    def _key(self, name: str) -> str:
        return self._folder + check_object_name(name)

    def _info(self, key: str, size: int, modified: datetime, attributes: object) -> ObjectInfo:
        digest = attributes.get(CHECKSUM) if isinstance(attributes, dict) else None
        modified_ms = int(modified.timestamp() * 1000)
        return ObjectInfo(name=key.removeprefix(self._folder), size=size, modified_ms=modified_ms, sha256=digest)

    def _no_object(self, name: str) -> NoObject:
        return NoObject(f"there is no object {name} in {self._place}")

    async def _require_bucket(self) -> None:
        """Raises PermanentError where there is no such bucket: a missing object and a missing bucket look alike.

        So do all of them where a proxy has no server behind it: what was seen a while ago tells nothing of that.
        """
        if time.monotonic() - self._seen_s > SEEN_LASTS_S:
            await self._ask("the list of objects", anext(obstore.list(self._store, chunk_size=1), None))

    async def _ask(self, what: str, answer: Awaitable[T], *, conditional: bool = False) -> T:
        with self._translated(what, conditional=conditional):
            return await answer

    @contextmanager
    def _translated(self, what: str, *, conditional: bool = False) -> Iterator[None]:
        try:
            yield
        except ERRORS as error:
            if conditional and isinstance(error, AlreadyExistsError | PreconditionError):
                raise conflict(f"{what} in {self._place}") from None
            if is_missing_object(error):
                raise NoObject(f"there is no {what} in {self._place}") from None
            # Not with its cause: the server's words may repeat what was signed.
            raise problem_of(error, f"{what} in {self._place}") from None
        self._seen_s = time.monotonic()


def _store_of(place: BucketPlace) -> S3Store:
    host = place.endpoint.partition("://")
    endpoint = place.endpoint if place.path_style else f"{host[0]}://{place.bucket}.{host[2]}"
    # All that the environment of AWS could set instead is named.
    config: S3Config = {
        "endpoint": endpoint,
        "region": place.region,
        "virtual_hosted_style_request": not place.path_style,
        "skip_signature": False,
        "unsigned_payload": False,
        "s3_express": False,
    }
    client: ClientConfig = {
        "allow_http": place.endpoint.startswith("http:"),
        "allow_invalid_certificates": False,
        "connect_timeout": timedelta(seconds=_CONNECT_S),
        "read_timeout": timedelta(seconds=_SILENCE_S),
        "timeout": timedelta(seconds=_WHOLE_S),
    }
    if place.ca_path is not None:
        try:
            client["root_certificate"] = place.ca_path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"STREAMFORGE_S3_CA_PATH: {place.ca_path} cannot be read ({error.strerror}): name a PEM file"
            ) from error
    retry: RetryConfig = {
        "max_retries": _RETRIES,
        "retry_timeout": timedelta(seconds=_RETRY_S),
        "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=5), "base": 2},
    }
    place.keys()  # a problem of theirs is one of the start

    def credential() -> S3Credential:
        keys = place.keys()
        return {
            "access_key_id": keys.access_key.reveal(),
            "secret_access_key": keys.secret_key.reveal(),
            "token": keys.session_token.reveal() if keys.session_token else None,
            "expires_at": datetime.now(UTC) + timedelta(seconds=KEYS_LAST_S),
        }

    return S3Store(
        place.bucket, config=config, client_options=client, retry_config=retry, credential_provider=credential
    )


def _read(content: bytes | Path) -> tuple[str, int, tuple[int, int]]:
    """The checksum and size of a content, and by what a change of the file is seen."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest(), len(content), (0, 0)
    try:
        with content.open("rb") as file:
            found = os.fstat(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InvalidInput("content", f"{content} cannot be read ({error.strerror}): store another file") from error
    return digest, found.st_size, (found.st_size, found.st_mtime_ns)


def _require_unchanged(content: bytes | Path, stamp: tuple[int, int]) -> None:
    if isinstance(content, Path) and stamp != _stamp(content):
        raise RetryableError(f"{content} changed while it was stored: store it again once it is whole")


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return (-1, -1)
    return found.st_size, found.st_mtime_ns
