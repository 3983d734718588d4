"""A data set on a real S3 server: exported by the command, read from the bucket by polars and pyarrow."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import polars
import pyarrow.dataset
import pyarrow.fs

from tests.cli.support import HOUR, START_MS, TYPE, exchange, expected, finished, oracle, process
from tests.contracts.objects import names
from tests.engines.kafka.disk import SmallDisk
from tests.engines.objects.gateway import BUCKET, REGION, Gateway
from tests.engines.objects.one_at_a_time import OneAtATime
from tests.engines.objects.test_object_bucket import gateway as gateway
from tests.engines.objects.test_object_bucket import store_of


def test_a_data_set_in_a_bucket_is_read_from_there(gateway: Gateway, tmp_path: Path) -> None:
    variables, place = gateway.environment(), f"{BUCKET}/data sets"
    command = ("export", "BTCUSDT", TYPE, "--partition", "day", "--time", "ms", "--output", f"s3://{place}", "--json")
    with exchange() as url:
        where = ("--data", str(tmp_path / "data"))
        with process("load", "BTCUSDT", TYPE, HOUR, *where, "--exchange", url) as loading:
            finished(loading).ok()
        rows = expected(oracle(url, START_MS, START_MS + 3_600_000))
        with process(*command, *where, **variables) as exporting:
            told = finished(exporting).ok().json
        assert (told["rows"], told["partitions_written"]) == (60, 1)
        with process(*command, *where, **variables) as exporting:
            told = finished(exporting).ok().json
        assert (told["rows"], told["partitions_written"], told["partitions_unchanged"]) == (60, 0, 1)
    for row in rows:
        row["day"] = "2024-08-01"
    options = {
        "aws_endpoint_url": gateway.url,
        "aws_region": REGION,
        "aws_access_key_id": gateway.access_key,
        "aws_secret_access_key": gateway.secret_key,
        "aws_allow_http": "true",
    }
    found = polars.read_parquet(f"s3://{place}/**/*.parquet", storage_options=options, hive_partitioning=True)
    assert [row | {"day": str(row["day"])} for row in found.to_dicts()] == rows
    bucket: Any = pyarrow.fs.S3FileSystem(
        endpoint_override=gateway.url.removeprefix("http://"),
        scheme="http",
        region=REGION,
        access_key=gateway.access_key,
        secret_key=gateway.secret_key,
    )
    dataset = pyarrow.dataset.dataset(place, filesystem=bucket, format="parquet", partitioning="hive")
    assert dataset.to_table().to_pylist() == rows


def test_two_exports_at_once_lose_nothing_and_a_full_server_lists_nothing(gateway: Gateway, tmp_path: Path) -> None:
    days, list_name = ["2024-08-01", "2024-08-02"], "symbol=BTCUSDT/_manifest.json"
    with exchange() as url:
        where = ("--data", str(tmp_path / "data"))
        with process("load", "BTCUSDT", TYPE, "2024-08-01:2024-08-03", *where, "--exchange", url) as loading:
            finished(loading).ok()
    command = ("export", "BTCUSDT", TYPE, "--partition", "day", "--output", f"s3://{BUCKET}/at-once", *where)
    with OneAtATime(gateway.port) as way:
        variables = {**gateway.environment(), "STREAMFORGE_S3_ENDPOINT": way.url}
        with process(*command, days[0], **variables) as one, process(*command, days[1], **variables) as two:
            for exporting in (one, two):
                finished(exporting).ok()
    listed = json.loads((gateway.buckets / BUCKET / "at-once" / list_name).read_bytes())
    assert [part["partition"] for part in listed["partitions"]] == [f"day={day}" for day in days]
    server = Gateway(tmp_path / "server")
    with SmallDisk(tmp_path / "server", size_mb=1) as disk:
        server.on(disk)
        server.start()
        try:
            disk.fill()
            with process(*command, **server.environment()) as exporting:
                ran = finished(exporting)
            assert ran.code == 1
            assert "no room is left: make room on the server, or raise its quota" in ran.err
            assert asyncio.run(names(store_of(server.settings("at-once")))) == []
            disk.empty()
            with process(*command, "--json", **server.environment()) as exporting:
                assert finished(exporting).ok().json["partitions_written"] == 2
        finally:
            server.process.stop()
