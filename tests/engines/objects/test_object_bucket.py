"""The store of objects on a real S3 server: the whole contract, a server that dies, keys that do not fit."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamforge import wiring
from streamforge.manager.retention.collection_export import CollectionExport
from streamforge_utils.model.errors import PermanentError, RetryableError, StreamForgeError
from streamforge_utils.model.secret import Secret
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.object_store import ObjectStore
from streamforge_utils.ports.store import Document
from streamforge_utils.runtime.life.object_settings import ObjectSettings
from streamforge_utils.runtime.life.settings import DataSettings
from tests.cli.support import finished, process
from tests.contracts.objects import LARGE, ConditionalContract, ObjectContract, Spoil, content, digest, names, sample
from tests.doubles.memorystore import MemoryStore
from tests.engines.objects.gateway import BUCKET, Gateway
from tests.engines.objects.one_at_a_time import OneAtATime
from tests.engines.process import free_ports
from tests.engines.proxy import Proxy


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    server = Gateway(tmp_path_factory.mktemp("gateway"))
    server.start()
    try:
        yield server
        server.process.check()
    finally:
        server.process.stop()


def store_of(settings: ObjectSettings) -> ObjectStore:
    return wiring.make_object_store(settings, DataSettings())


class TestBucket(ObjectContract):
    @pytest.fixture
    def prefix(self) -> str:
        return f"data sets/{secrets.token_hex(6)}"

    @pytest.fixture
    def objects(self, gateway: Gateway, prefix: str) -> ObjectStore:
        return store_of(gateway.settings(prefix))

    @pytest.fixture
    def spoil(self, gateway: Gateway, prefix: str) -> Spoil:
        async def change(name: str) -> None:
            path = gateway.buckets / BUCKET / prefix / name
            path.write_bytes(path.read_bytes()[:-1] + b"?")

        return change

    async def test_a_collection_is_exported_whole_or_not_at_all(
        self, objects: ObjectStore, spoil: Spoil, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = MemoryStore()
        await store.upsert("old", [Document(f"k{n}", n, b'{"n":%d}' % n) for n in range(9)])
        token = "a" * 16
        export = CollectionExport(store, objects, lambda: token)
        place = [(Series("BTCUSDT", "trades"), TimeRange(0, 1000))]
        made = await export.write("old", place)
        assert (made.name, made.records, made.digest) == (f"old/{token}", 9, await export.digest("old"))
        kept = [f"old/{token}/00001.jsonl.gz", f"old/{token}/_manifest.json"]
        assert await names(objects) == kept
        put = objects.put

        async def spoilt(name: str, content: bytes | Path) -> object:
            found = await put(name, content)
            await spoil(name)
            return found

        monkeypatch.setattr(objects, "put", spoilt)
        token = "b" * 16
        with pytest.raises(RetryableError, match="damaged"):
            await export.write("old", place)
        assert await names(objects) == kept

    async def test_objects_outside_of_the_prefix_are_not_seen(self, gateway: Gateway, prefix: str) -> None:
        outside, inside = store_of(gateway.settings()), store_of(gateway.settings(prefix))
        await outside.put(f"{prefix}-2/a", b"1")
        await inside.put("a", b"2")
        assert await names(inside) == ["a"]
        assert await content(outside, f"{prefix}/a") == b"2"


class TestConditions(ConditionalContract):
    @pytest.fixture
    def objects(self, gateway: Gateway) -> Iterator[ObjectStore]:
        with OneAtATime(gateway.port) as way:
            yield store_of(gateway.settings(f"conditions/{secrets.token_hex(6)}", endpoint=way.url))


async def failed(store: ObjectStore) -> StreamForgeError:
    """The error of a put, the same kind as that of every other call."""
    errors = []
    for call in (store.put("a", b"x"), content(store, "a"), store.head("a"), names(store), store.delete(["a"])):
        with pytest.raises(StreamForgeError) as caught:
            await call
        errors.append(caught.value)
    assert len({type(one) for one in errors}) == 1, errors
    for one in errors:
        assert one.__cause__ is None
        assert one.__suppress_context__
    return errors[0]


async def test_keys_that_do_not_fit_are_refused_with_what_to_do_and_never_shown(gateway: Gateway) -> None:
    wrong = "n0t-the-key-of-the-server"
    for name in ("secret_key", "access_key"):
        error = await failed(store_of(gateway.settings("", **{name: Secret(wrong)})))
        assert type(error) is PermanentError
        assert "access is refused" in str(error)
        assert "check STREAMFORGE_S3_ACCESS_KEY and STREAMFORGE_S3_SECRET_KEY" in str(error)
        for text in (wrong, gateway.access_key, gateway.secret_key):
            assert text not in repr(error)


async def test_a_bucket_that_is_not_there_is_told(gateway: Gateway) -> None:
    error = await failed(store_of(gateway.settings(url="s3://no-such-bucket/prefix")))
    assert type(error) is PermanentError
    assert "s3://no-such-bucket/prefix at http://127.0.0.1:" in str(error)
    assert "the bucket does not exist: make it, or correct STREAMFORGE_OBJECTS_URL" in str(error)


async def test_a_server_that_is_not_there_is_told(gateway: Gateway) -> None:
    error = await failed(store_of(gateway.settings(endpoint="http://127.0.0.1:1")))
    assert type(error) is RetryableError
    assert "it takes no connection: is the server up" in str(error)


async def test_keys_in_files_may_be_replaced(gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamforge_utils.adapters.object_storage.object_bucket.KEYS_LAST_S", 0.0)
    access, secret = tmp_path / "access", tmp_path / "secret"
    access.write_text(f"{gateway.access_key}\n")
    secret.write_text("another\n")
    files = {"access_key": None, "secret_key": None, "access_key_file": access, "secret_key_file": secret}
    store = store_of(gateway.settings("files", **files))
    with pytest.raises(PermanentError, match="access is refused"):
        await store.put("a", b"x")
    secret.write_text(gateway.secret_key)
    await store.put("a", b"x")
    assert await names(store) == ["a"]


class Fatal(Proxy):
    """The way to a server that is killed once so many bytes have passed."""

    _passed = 0

    def __init__(self, server: Gateway, after_bytes: int) -> None:
        self._gateway, self._after_bytes = server, after_bytes
        super().__init__(("127.0.0.1", free_ports(1)[0]), ("127.0.0.1", server.port))

    @property
    def passed_bytes(self) -> int:
        return self._passed

    @passed_bytes.setter
    def passed_bytes(self, count: int) -> None:
        self._passed = count
        if count > self._after_bytes:
            self._gateway.process.kill()


@pytest.mark.parametrize("after_bytes", [100_000, LARGE // 2, LARGE - 100_000])
async def test_a_server_that_dies_in_the_middle_of_a_put_shows_nothing_of_it(tmp_path: Path, after_bytes: int) -> None:
    server = Gateway(tmp_path)
    server.start()
    try:
        store = store_of(server.settings("sets"))
        await store.put("old", b"old content")
        large = tmp_path / "large"
        large.write_bytes(sample(LARGE))
        for name in ("new", "old"):
            with Fatal(server, after_bytes) as way:
                through = store_of(server.settings("sets", endpoint=f"http://{way.listen[0]}:{way.listen[1]}"))
                with pytest.raises(RetryableError, match="is the server up"):
                    await through.put(name, large)
            assert not server.process.running
            server.start()
            assert await names(store) == ["old"]
            assert await content(store, "old") == b"old content"
        put = await store.put("new", large)
        assert put.sha256 == digest(large.read_bytes())
        assert digest(await content(store, "new")) == put.sha256
    finally:
        server.process.stop()


@pytest.mark.parametrize(("secret", "verdict"), [("", "works"), ("n0t-the-key-of-the-server", "fails")])
def test_doctor_tries_the_bucket(gateway: Gateway, tmp_path: Path, secret: str, verdict: str) -> None:
    variables = {**gateway.environment("doctor"), **({"STREAMFORGE_S3_SECRET_KEY": secret} if secret else {})}
    where = ("--data", str(tmp_path / "data"), "--exchange", "http://127.0.0.1:1")
    with process("doctor", "--json", *where, **variables) as started:
        ran = finished(started)
    (found,) = (check for check in ran.json["checks"] if check["part"] == "objects")
    assert found["verdict"] == verdict
    told = (
        "an object was put, read and deleted in " if verdict == "works" else "access is refused (SignatureDoesNotMatch)"
    )
    assert told in found["detail"]
    assert f"s3://{BUCKET}/doctor at {gateway.url}" in found["detail"]
    assert gateway.secret_key not in ran.out + ran.err
    assert not list((gateway.buckets / BUCKET).rglob("streamforge-doctor/*"))
