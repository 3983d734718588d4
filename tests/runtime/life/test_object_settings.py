"""The settings of the store of objects: what is accepted, what is refused and why, and that no key is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamforge import wiring
from streamforge.workers import graph_builder
from streamforge_utils.adapters.object_storage.object_folder import ObjectFolder
from streamforge_utils.model.errors import ConfigError
from streamforge_utils.runtime.life.environment import load
from streamforge_utils.runtime.life.object_settings import ObjectSettings
from streamforge_utils.runtime.life.settings import DataSettings
from streamforge_utils.runtime.life.worker_process import load_worker

KEYS = {"STREAMFORGE_S3_ACCESS_KEY": "the-id", "STREAMFORGE_S3_SECRET_KEY": "the-key"}


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("s3://bucket", ("bucket", "")),
        ("s3://my.bucket-1/a b/c/", ("my.bucket-1", "a b/c")),
        ("file:///srv/my%20objects", "/srv/my objects"),
        ("file://localhost/srv/x/", "/srv/x"),
        ("/srv/x", "/srv/x"),
        ("relative", str(Path.cwd() / "relative")),
        ("~/x", str(Path.home() / "x")),
    ],
)
def test_a_place_is_a_bucket_or_a_folder(url: str, place: str | tuple[str, str]) -> None:
    settings = load(ObjectSettings, {"STREAMFORGE_OBJECTS_URL": url, **(KEYS if url.startswith("s3:") else {})})
    assert (settings.bucket if settings.in_bucket else settings.url) == place
    assert load(ObjectSettings, {"STREAMFORGE_OBJECTS_URL": settings.url, **(KEYS if settings.in_bucket else {})}) == (
        settings
    )


BUCKET = {"STREAMFORGE_OBJECTS_URL": "s3://bucket", **KEYS}


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"STREAMFORGE_OBJECTS_URL": "gs://bucket"}, r"has not the form s3://BUCKET\[/PREFIX\], file:///PATH or PATH"),
        ({"STREAMFORGE_OBJECTS_URL": "file://host/x"}, "has not the form"),
        ({"STREAMFORGE_OBJECTS_URL": "file://"}, "has not the form"),
        ({"STREAMFORGE_OBJECTS_URL": "a\tb"}, "has not the form"),
        ({**BUCKET, "STREAMFORGE_OBJECTS_URL": "s3://id:hidden@bucket"}, "keys belong into STREAMFORGE_S3_ACCESS_KEY"),
        ({**BUCKET, "STREAMFORGE_OBJECTS_URL": "s3://Bucket"}, "the bucket's name has 3 to 63 small letters"),
        ({**BUCKET, "STREAMFORGE_OBJECTS_URL": "s3://a..b"}, "the bucket's name has"),
        ({**BUCKET, "STREAMFORGE_OBJECTS_URL": "s3://bucket/a/../b"}, "its prefix cannot be used"),
        ({**BUCKET, "STREAMFORGE_OBJECTS_URL": "s3://bucket/a?key=hidden"}, "has not the form"),
        ({**BUCKET, "STREAMFORGE_S3_ENDPOINT": "ftp://host"}, r"has not the form https://HOST\[:PORT\]"),
        ({**BUCKET, "STREAMFORGE_S3_ENDPOINT": "https://host/path"}, "has not the form"),
        ({**BUCKET, "STREAMFORGE_S3_ENDPOINT": "https://id:hidden@host"}, "keys belong into"),
        ({**BUCKET, "STREAMFORGE_S3_ENDPOINT": "http://192.0.2.1:9000"}, "http:// is not encrypted: write https://"),
        (
            {**BUCKET, "STREAMFORGE_S3_ENDPOINT": "http://127.0.0.1:9000", "STREAMFORGE_S3_CA_PATH": "/ca.pem"},
            "but STREAMFORGE_S3_CA_PATH is set",
        ),
        ({**BUCKET, "STREAMFORGE_S3_REGION": "Eu West"}, "a region has small letters, digits and `-`"),
        (
            {**BUCKET, "STREAMFORGE_S3_SECRET_KEY": ""},
            "STREAMFORGE_S3_SECRET_KEY is missing.*STREAMFORGE_S3_SECRET_KEY_FILE",
        ),
        (
            {**BUCKET, "STREAMFORGE_S3_ACCESS_KEY_FILE": "/f"},
            "_ACCESS_KEY and STREAMFORGE_S3_ACCESS_KEY_FILE are both set",
        ),
        ({**BUCKET, "STREAMFORGE_S3_SECRET_KEY": "hidden\n"}, "STREAMFORGE_S3_SECRET_KEY holds a line break"),
        (KEYS, "STREAMFORGE_S3_ACCESS_KEY is set, but STREAMFORGE_OBJECTS_URL names no bucket"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name_without_showing_a_key(environment: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        load(ObjectSettings, environment)
    for secret in ("hidden", "the-id", "the-key"):
        assert secret not in str(caught.value)


@pytest.mark.parametrize("host", ["http://127.0.0.1:9000", "http://[::1]:9000", "http://localhost"])
def test_plain_http_is_for_loopback_or_for_who_says_so(host: str) -> None:
    assert load(ObjectSettings, {**BUCKET, "STREAMFORGE_S3_ENDPOINT": host}).server == host
    elsewhere = {**BUCKET, "STREAMFORGE_S3_ENDPOINT": "http://minio.internal", "STREAMFORGE_S3_ALLOW_HTTP": "true"}
    assert load(ObjectSettings, elsewhere).server == "http://minio.internal"
    assert load(ObjectSettings, BUCKET).server == "https://s3.us-east-1.amazonaws.com"


def test_keys_come_from_files_and_a_bad_file_is_named(tmp_path: Path) -> None:
    for name in ("id", "key"):
        (tmp_path / name).write_text(f"the-{name}\n")
    environment = {
        "STREAMFORGE_OBJECTS_URL": "s3://bucket",
        "STREAMFORGE_S3_ACCESS_KEY_FILE": str(tmp_path / "id"),
        "STREAMFORGE_S3_SECRET_KEY_FILE": str(tmp_path / "key"),
    }
    settings = load(ObjectSettings, environment)
    access, secret, token = settings.keys()
    assert (access.reveal(), secret.reveal(), token) == ("the-id", "the-key", None)
    assert "the-key" not in repr(settings)
    for text, told in (("two words", "must hold one key and nothing else"), ("", "must hold one key")):
        (tmp_path / "key").write_text(text)
        with pytest.raises(ConfigError, match=told):
            wiring.make_object_store(settings, DataSettings())
    (tmp_path / "key").unlink()
    with pytest.raises(ConfigError, match=r"STREAMFORGE_S3_SECRET_KEY_FILE: .* cannot be read \(No such file"):
        wiring.make_object_store(settings, DataSettings())


async def test_without_a_place_it_is_a_folder_of_the_data_directory(tmp_path: Path) -> None:
    store = wiring.make_object_store(ObjectSettings(), DataSettings(data_dir=tmp_path))
    assert isinstance(store, ObjectFolder)
    await store.put("a", b"1")
    assert (tmp_path / "objects" / "a").read_bytes() == b"1"
    elsewhere = wiring.make_object_store(ObjectSettings(url=str(tmp_path / "other")), DataSettings())
    await elsewhere.put("b", b"2")
    assert (tmp_path / "other" / "b").read_bytes() == b"2"


def test_a_worker_takes_the_first_generations_names(tmp_path: Path) -> None:
    environ = {
        "QUEUE_ID": "wf-top-gnn_graph-20240801-abc123",
        "SYMBOL": "TOP",
        "TYPE": "gnn_graph",
        "STREAMFORGE_DATA_DIR": str(tmp_path),
        "MINIO_ENDPOINT": "https://minio.example:9000",
        "MINIO_BUCKET": "graphs",
        "MINIO_ACCESS_KEY": "id",
        "MINIO_SECRET_KEY": "key",
    }
    found = load_worker(graph_builder.DEFINITION, environ)[0].objects
    assert (found.url, found.endpoint) == ("s3://graphs", "https://minio.example:9000")
    assert found.access_key is not None
    assert found.secret_key is not None
    assert (found.access_key.reveal(), found.secret_key.reveal()) == ("id", "key")
    environ["STREAMFORGE_OBJECTS_URL"] = "s3://ours"
    assert load_worker(graph_builder.DEFINITION, environ)[0].objects.url == "s3://ours"
