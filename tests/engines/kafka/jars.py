"""Fetches the broker's jars once, into a cache outside the checkout, keyed by what pom.xml says."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.engines.process import EngineError, cache_folder, fetching

POM = Path(__file__).with_name("pom.xml")
JAVA_AT_LEAST = 17
FETCH_LIMIT_S = 300.0


def java() -> str:
    """The path of a Java that can run the broker. Raises EngineError."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if found is None:
        where = f"in JAVA_HOME ({home})" if home else "on PATH"
        raise EngineError(f"there is no java {where}: install a JDK {JAVA_AT_LEAST} or newer (openjdk-17-jre-headless)")
    told = subprocess.run([found, "-XshowSettings:properties", "-version"], capture_output=True, text=True, timeout=360)
    version = next(
        (line.split("=")[1].strip() for line in told.stderr.splitlines() if "java.specification.version" in line), "?"
    )
    if not version.isdigit() or int(version) < JAVA_AT_LEAST:
        raise EngineError(f"{found} is Java {version}, the broker needs {JAVA_AT_LEAST} or newer: set JAVA_HOME")
    return found


def class_path() -> str:
    """The broker's jars as Java's class path; fetched by Maven the first time. Raises EngineError.

    Several processes may ask at once: one fetches, the others wait for it.
    """
    key = hashlib.sha256(POM.read_bytes()).hexdigest()[:16]
    folder = cache_folder() / f"kafka-{key}"
    with fetching(folder) as ours:
        if ours:
            _fetch(folder)
    return f"{folder}/*"


def _fetch(folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise EngineError("there is no mvn on PATH, and the broker has not been fetched yet: install Maven")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetching-") as scratch:
        jars = Path(scratch) / "jars"
        # The pom is copied: Maven would write a `target` folder beside it.
        shutil.copy(POM, scratch)
        command = [
            *(maven, "--batch-mode", "--no-transfer-progress", "--quiet", "--file", f"{scratch}/pom.xml"),
            *("dependency:copy-dependencies", f"-DoutputDirectory={jars}"),
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_LIMIT_S)
        except subprocess.TimeoutExpired as error:
            raise EngineError(
                f"Maven did not fetch the broker within {FETCH_LIMIT_S:.0f} s: is it reachable?"
            ) from error
        if done.returncode != 0 or not any(jars.glob("kafka_2.13-*.jar")):
            raise EngineError(f"Maven could not fetch the broker:\n{(done.stdout + done.stderr)[-3000:]}")
        jars.rename(folder)
