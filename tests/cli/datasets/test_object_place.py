"""A data set in a store of objects has the files of one in a folder, and says what a store refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamforge import wiring
from streamforge_utils.model.errors import RetryableError
from streamforge_utils.ports.object_store import ObjectStore
from streamforge_utils.runtime.life.object_settings import ObjectSettings
from streamforge_utils.runtime.life.settings import DataSettings
from tests.cli.datasets.test_dataset_export import days as days
from tests.cli.support import TYPE, Cli

EXPORT = ("export", "BTCUSDT", TYPE, "--partition", "day", "--output")
BUCKET = "s3://market-data/candles"


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the bucket; the address of the bucket is checked as it is."""
    folder, make = tmp_path / "bucket", wiring.make_object_store
    monkeypatch.setenv("STREAMFORGE_OBJECTS_URL", "s3://another-one")
    for name in ("ACCESS", "SECRET"):
        monkeypatch.setenv(f"STREAMFORGE_S3_{name}_KEY", "made-up")

    def make_folder(settings: ObjectSettings, data: DataSettings) -> ObjectStore:
        if settings.bucket == ("another-one", ""):  # the manager's own
            return make(ObjectSettings(url=str(tmp_path / "another")), data)
        assert settings.bucket == ("market-data", "candles")
        return make(ObjectSettings(url=str(folder)), data)

    monkeypatch.setattr(wiring, "make_object_store", make_folder)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a data set, by name; the store's own begin with a dot."""
    found = (str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file())
    return {name: (folder / name).read_bytes() for name in found if not name.startswith(".")}


@pytest.mark.e2e
def test_objects_are_the_files_of_a_folder_and_are_brought_up_to_date(
    loaded: Cli, bucket: Path, tmp_path: Path
) -> None:
    loaded(*EXPORT, str(tmp_path / "set")).ok()
    told = loaded(*EXPORT, f"{BUCKET}/", "--json").ok().json
    assert (told["folder"], told["rows"], told["partitions_written"]) == (BUCKET, 360, 1)
    assert files(bucket) == files(tmp_path / "set")
    before = {name: (bucket / name).stat().st_mtime_ns for name in files(bucket)}
    told = loaded(*EXPORT, BUCKET, "--json").ok().json
    assert (told["partitions_written"], told["partitions_unchanged"]) == (0, 1)
    assert {name: (bucket / name).stat().st_mtime_ns for name in files(bucket)} == before


def test_what_the_store_refuses_is_said_and_nothing_is_listed(
    loaded: Cli, bucket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = wiring.make_object_store

    class Full:
        """Takes no large object."""

        def __init__(self, store: ObjectStore) -> None:
            self._store = store

        def __getattr__(self, name: str) -> object:
            return getattr(self._store, name)

        async def put(self, name: str, content: bytes | Path, **more: Any) -> object:
            if name.endswith(".parquet"):
                raise RetryableError(f"object {name} cannot be stored: no room; make some")
            return await self._store.put(name, content, **more)

    monkeypatch.setattr(wiring, "make_object_store", lambda *given: Full(make(*given)))
    ran = loaded(*EXPORT, BUCKET)
    assert (ran.code, ran.out) == (1, "")
    assert "object symbol=BTCUSDT/day=2024-08-01/records.parquet cannot be stored: no room; make some" in ran.err
    assert list(files(bucket)) == ["_manifest.json"]


@pytest.mark.e2e
def test_what_two_exports_list_at_once_is_all_listed(
    days: Cli, bucket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, one, two = wiring.make_object_store, "2024-07-31", "2024-08-01"
    daily = ("export", "BTCUSDT", "api_candles_1h", "--partition", "day", "--output")
    days(*daily, str(tmp_path / "both"), f"{one}:2024-08-02").ok()
    days(*daily, str(tmp_path / "other"), f"{two}:2024-08-02").ok()
    listed = "symbol=BTCUSDT/_manifest.json"

    class Late:
        """Before this one's list is put the other export is through."""

        def __init__(self, store: ObjectStore) -> None:
            self._store = store

        def __getattr__(self, name: str) -> object:
            return getattr(self._store, name)

        async def put(self, name: str, content: bytes | Path, **more: Any) -> object:
            if name == listed and await self._store.head(name) is None:
                for other in (f"symbol=BTCUSDT/day={two}/records.parquet", listed):
                    await self._store.put(other, tmp_path / "other" / other)
            return await self._store.put(name, content, **more)

    monkeypatch.setattr(wiring, "make_object_store", lambda *given: Late(make(*given)))
    days(*daily, BUCKET, f"{one}:{two}").ok()
    assert files(bucket) == files(tmp_path / "both")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (BUCKET, "STREAMFORGE_S3_ACCESS_KEY is missing"),
        ("s3://", "--output"),
        ("ftp://host/a", "--output"),
    ],
)
def test_an_address_that_cannot_be_is_refused(loaded: Cli, output: str, message: str) -> None:
    ran = loaded(*EXPORT, output)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err


def test_a_single_file_goes_into_no_store_of_objects(loaded: Cli) -> None:
    ran = loaded("export", "BTCUSDT", TYPE, "--output", f"{BUCKET}/a.csv")
    assert ran.code == 2
    assert "only a data set goes into a store of objects: add --partition day (or month)" in ran.err
