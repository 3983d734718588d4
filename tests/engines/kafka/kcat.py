"""kcat, as a person uses it: a client that knows nothing of us.

Linux distributions build it with a librdkafka below 2.6.1, which no Kafka 4 lets log in by SCRAM (edenhill/kcat#462,
confluentinc/librdkafka#4895). There the newer one that comes with confluent-kafka stands in for it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import confluent_kafka

from tests.engines.errors import EngineError

LIMIT_S = 30.0
LOGS_IN_SINCE = (2, 6, 1)
"""The librdkafka whose SCRAM is as RFC 5802 has it."""


class Kcat:
    """Writes and reads topics. config: settings of librdkafka; they go into a file, for everybody reads arguments."""

    def __init__(self, config: Mapping[str, object], folder: Path) -> None:
        found = shutil.which("kcat")
        if found is None:
            raise EngineError("there is no kcat on PATH: install it (the package is called kcat)")
        self._path = folder / "kcat.conf"
        self._path.touch(0o600)
        self._path.write_text("".join(f"{name}={value}\n" for name, value in config.items()))
        self._start = [found, "-F", str(self._path), "-q"]
        self.environment = _able_to_log_in(found, folder)

    def send(self, topic: str, lines: str, *options: str) -> None:
        """One message for each line."""
        self._run(["-P", "-t", topic, *options], lines.encode())

    def reading(self, topic: str) -> list[str]:
        """The command that prints every message of a topic, from the first on, a line each, until it is ended."""
        return [*self._start, "-C", "-t", topic, "-o", "beginning", "-u", "-f", "%s\n"]

    def _run(self, arguments: list[str], standard_input: bytes) -> None:
        done = subprocess.run(
            [*self._start, *arguments],
            env=os.environ | self.environment,
            input=standard_input,
            capture_output=True,
            timeout=LIMIT_S,
        )
        assert done.returncode == 0, done.stderr.decode()


def _able_to_log_in(kcat: str, folder: Path) -> dict[str, str]:
    """The variables with which kcat has a librdkafka that can. Raises EngineError."""
    if _librdkafka(kcat, {}) >= LOGS_IN_SINCE:
        return {}
    package = Path(confluent_kafka.__file__).parent
    bundled = next(package.with_name("confluent_kafka.libs").glob("librdkafka-*.so.1"), None)
    if bundled is not None:
        (folder / "librdkafka.so.1").symlink_to(bundled)
        environment = {"LD_LIBRARY_PATH": str(folder)}
        if _librdkafka(kcat, environment) >= LOGS_IN_SINCE:
            return environment
    least = ".".join(map(str, LOGS_IN_SINCE))
    raise EngineError(f"{kcat} has a librdkafka that cannot log in at Kafka 4: install one with {least} or newer")


def _librdkafka(kcat: str, environment: Mapping[str, str]) -> tuple[int, ...]:
    told = subprocess.run([kcat, "-V"], env=os.environ | environment, capture_output=True, text=True, timeout=LIMIT_S)
    found = re.search(r"librdkafka (\d+)\.(\d+)\.(\d+)", told.stdout + told.stderr)
    return tuple(map(int, found.groups())) if found else ()
