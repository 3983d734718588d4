"""What doctor says of an ArangoDB that is full."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streamforge.cli.checks.place_checks import Subject
from streamforge.cli.checks.store_check import check_store
from streamforge.cli.session import Where
from streamforge_utils.adapters.arango import ArangoStore, Connection, Transport
from streamforge_utils.model.errors import RetryableError, StreamForgeError
from streamforge_utils.model.secret import Secret
from streamforge_utils.ports.provisioning import Finding
from streamforge_utils.ports.store import Document
from tests.doubles.arangodb.double import ArangoDouble
from tests.doubles.arangodb.misbehaviour import Fault
from tests.doubles.arangodb.server import Settings


@pytest.fixture
async def double(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ArangoDouble]:
    async with ArangoDouble(Settings(version="3.12.10", password="hush-hush")) as found:
        found.server.create_database({"name": "candles"})
        monkeypatch.setenv("ARANGO_URL", found.url)
        monkeypatch.setenv("ARANGO_DB", "candles")
        monkeypatch.setenv("ARANGO_USER", "root")
        monkeypatch.setenv("ARANGO_PASSWORD", "hush-hush")
        yield found


async def found(folder: Path) -> list[Finding]:
    """All that the check finds, up to where it raises."""
    return [one async for one in check_store(Subject(Where(), folder, folder / "probe"))]


async def room(folder: Path) -> Finding:
    [first] = [one for one in await found(folder) if one.part == "room"]
    return first


async def test_a_server_that_takes_no_more_writes_is_told_with_its_room(double: ArangoDouble, tmp_path: Path) -> None:
    connection = Connection(url=double.url, database="candles", user="root", password=Secret("hush-hush"))
    store = ArangoStore(Transport(connection))
    await store.upsert("candles", [Document("k", 1, b'{"n":1}')])
    await store.close()
    double.server.settings.limit_bytes = 1
    double.misbehaviour.add(Fault(kind="read-only"))
    check = check_store(Subject(Where(), tmp_path, tmp_path / "probe"))
    first = await anext(check)
    assert (first.part, first.verdict) == ("room", "fails")
    assert "the limit is reached" in first.detail
    assert "STREAMFORGE_RETENTION" in first.next_step
    with pytest.raises(RetryableError, match="read-only"):
        await anext(check)


async def test_a_limit_that_the_user_may_not_see_is_called_unknown(double: ArangoDouble, tmp_path: Path) -> None:
    double.misbehaviour.add(Fault(kind="error", number=11, path="_admin/license"))
    told = await room(tmp_path)
    assert told.verdict == "careful"
    assert "unknown" in told.detail
    assert "_system" in told.next_step


async def test_who_sees_one_database_of_the_limited_server_is_told_so(double: ArangoDouble, tmp_path: Path) -> None:
    double.server.settings.edition = "community"
    whole = await room(tmp_path)
    double.misbehaviour.add(Fault(kind="error", number=11, path="_admin/license"))
    alone = await room(tmp_path)
    assert (whole.verdict, alone.verdict) == ("works", "careful")
    assert "of 100 GiB" in alone.detail
    assert alone.detail.endswith("this database alone, and the limit counts all databases of the server")
    assert "_system" in alone.next_step


@pytest.mark.parametrize("number", [11, 1004, 1620])
async def test_what_keeps_it_from_storing_is_told_and_not_what_keeps_it_from_cleaning(
    number: int, double: ArangoDouble, tmp_path: Path
) -> None:
    double.misbehaviour.add(Fault(kind="error", number=number, method="POST", path="_api/document"))
    double.misbehaviour.add(Fault(kind="error", number=11, method="DELETE"))
    with pytest.raises(StreamForgeError) as error:
        await found(tmp_path)
    assert "store in the collection streamforge-doctor-" in str(error.value)
    assert "drop" not in str(error.value)


async def test_what_an_earlier_one_left_is_dropped_and_what_another_uses_stays(
    double: ArangoDouble, tmp_path: Path
) -> None:
    now = int(time.time())
    left, used = f"streamforge-doctor-{now - 1000:x}-a", f"streamforge-doctor-{now:x}-b"
    others = [used, "streamforge-doctor-tables", "streamforge-doctor"]
    database = next(found for name, found in double.server.databases.items() if name != "_system")
    for name in (left, *others):
        database.create({"name": name})
    await found(tmp_path)
    assert left not in database.collections
    assert {*others} <= {*database.collections}
