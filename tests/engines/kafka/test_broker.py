"""The engine itself: what other tests take for granted of the broker."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.engines.kafka import jars
from tests.engines.kafka.broker import Broker
from tests.engines.process import EngineError, alive
from tests.places import ROOT

LIMIT_S = 120.0

# A start takes 5 s, and several times as long on a busy machine.


def test_its_secrets_are_in_no_command_and_in_no_file_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, wrapper = tmp_path / "commands", tmp_path / "java"
    wrapper.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {seen}\nexec {jars.java()} "$@"\n')
    wrapper.chmod(0o700)
    monkeypatch.setattr(jars, "java", lambda: str(wrapper))
    broker = Broker(tmp_path / "broker", secured=True)
    try:
        broker.start()
        assert broker.admin is not None
        commands = seen.read_text()
        assert "kafka.Kafka" in commands
        assert "format.arguments" in commands
        assert not list(broker.folder.glob("*.arguments"))
        for name in ("server.properties", "broker.pem"):
            assert (broker.folder / name).stat().st_mode & 0o077 == 0, name
        for text in (commands, broker.log_path.read_text(), repr(broker.admin)):
            assert broker.admin.password not in text
    finally:
        broker.stop()


def test_it_dies_with_a_killed_owner(tmp_path: Path) -> None:
    owner = (
        "import sys, time; from pathlib import Path; from tests.engines.kafka.broker import Broker\n"
        "broker = Broker(Path(sys.argv[1])); broker.start(); print(broker.pid, flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", owner, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT)
    with process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert alive(pid)
        process.kill()
    deadline = time.monotonic() + LIMIT_S
    while alive(pid):
        assert time.monotonic() < deadline, f"the broker {pid} outlived its owner"
        time.sleep(0.05)


def test_without_java_or_maven_the_reason_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(EngineError, match="there is no java in JAVA_HOME"):
        jars.java()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="install Maven"):
        jars.class_path()
    assert not list(tmp_path.glob("streamforge/*/*.jar"))
