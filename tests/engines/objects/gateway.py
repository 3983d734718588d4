"""A real S3 server on loopback: versitygw, built once from its Go module, on a folder that has room for it."""

from __future__ import annotations

import hashlib
import os
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamforge_utils.model.secret import Secret
from streamforge_utils.runtime.life.object_settings import ObjectSettings
from tests.engines.kafka.disk import SmallDisk
from tests.engines.kubernetes.binaries import FLAGS, build_go
from tests.engines.process import EngineError, EngineProcess, cache_folder, fetching, free_ports
from tests.limits import LIMIT_S

_HERE = Path(__file__).parent
_PACKAGE = "github.com/versity/versitygw/cmd/versitygw"
BUCKET = "streamforge-test"
REGION = "eu-test-1"
_PAUSE_S = 0.05


def build() -> Path:
    """The path of the server, which is built unless it has been. Raises EngineError."""
    parts = [(_HERE / name).read_bytes() for name in ("go.mod", "go.sum")]
    key = hashlib.sha256(b"\0".join([*parts, " ".join(FLAGS).encode()])).hexdigest()[:16]
    wanted = cache_folder() / f"versitygw-{key}"
    with fetching(wanted) as ours:
        if ours:
            build_go(wanted, _HERE, [_PACKAGE], "")
    return wanted / "versitygw"


class Gateway:
    """An S3 server whose buckets are the folders in `folder/buckets`; the keys are made up."""

    def __init__(self, folder: Path) -> None:
        self.buckets = folder / "buckets"
        self.access_key, self.secret_key = f"TEST{secrets.token_hex(8)}", secrets.token_hex(20)
        (self.port,) = free_ports(1)
        side = folder / "metadata"
        for made in (self.buckets / BUCKET, side):
            made.mkdir(parents=True)
        address = f"127.0.0.1:{self.port}"
        # Quiet: a log of requests would fill the pipe that nobody reads. The metadata in files of their own: not every
        # file system of a test has extended attributes.
        command = [str(build()), "--quiet", "--port", address, "--region", REGION, "posix", "--sidecar", str(side)]
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "VGW_"))},
            "ROOT_ACCESS_KEY": self.access_key,
            "ROOT_SECRET_KEY": self.secret_key,
        }
        self.process = EngineProcess(
            "versitygw", [*command, str(self.buckets)], folder / "versitygw.log", environment=environment
        )

    def on(self, disk: SmallDisk) -> None:
        """Keep all of it on this disk, whose folder is its own. Before it is started."""
        made = f'mkdir -p "$1/buckets/{BUCKET}" "$1/metadata" && shift && exec "$@"'
        self.process.command = disk.command(["sh", "-c", made, "sh", str(disk.folder), *self.process.command])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers. Raises EngineError."""
        self.process.start()
        deadline = time.monotonic() + LIMIT_S
        while True:
            self.process.check()
            try:
                with urllib.request.urlopen(self.url, timeout=LIMIT_S):
                    return
            except urllib.error.HTTPError as error:
                with error:
                    return  # it refuses whoever has no key
            except OSError:
                if time.monotonic() > deadline:
                    raise EngineError(f"versitygw does not answer:\n{self.process.log()}") from None
            time.sleep(_PAUSE_S)

    def settings(self, prefix: str = "", **other: Any) -> ObjectSettings:
        """The settings with which it is reached. other: fields that are to be otherwise."""
        return ObjectSettings(
            **{
                "url": f"s3://{BUCKET}{f'/{prefix}' if prefix else ''}",
                "endpoint": self.url,
                "region": REGION,
                "access_key": Secret(self.access_key),
                "secret_key": Secret(self.secret_key),
                **other,
            }
        )

    def environment(self, prefix: str = "") -> Mapping[str, str]:
        """The same as variables of the environment."""
        return {
            "STREAMFORGE_OBJECTS_URL": f"s3://{BUCKET}{f'/{prefix}' if prefix else ''}",
            "STREAMFORGE_S3_ENDPOINT": self.url,
            "STREAMFORGE_S3_REGION": REGION,
            "STREAMFORGE_S3_ACCESS_KEY": self.access_key,
            "STREAMFORGE_S3_SECRET_KEY": self.secret_key,
        }
