"""Prometheus' own rule checker: where it is, and what it says."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from tests.engines.process import cache_folder

_LIMIT_S = 60.0
RULES = "rules.yaml"
"""What the tests of rules call the file that they are about."""


class PromtoolError(Exception):
    """promtool is missing or did not end; the message says what to do."""


def find() -> str:
    """Its path: that of PATH goes first, then what tools/install_promtool.sh has fetched. Raises PromtoolError."""
    fetched = cache_folder() / "promtool" / "promtool"
    found = shutil.which("promtool") or (str(fetched) if fetched.exists() else None)
    if found is None:
        raise PromtoolError(
            "promtool is missing: tools/install_promtool.sh fetches it on Debian and Ubuntu; "
            "elsewhere put the one of Prometheus 2.42 or newer on PATH"
        )
    return found


def check(rules: str) -> str:
    """What it finds wrong with a file of rules; empty: nothing. Raises PromtoolError."""
    return _run("check", rules, {}, lambda folder: [str(folder / RULES)])


def test(rules: str, tests: Mapping[str, str]) -> str:
    """What the tests of rules find wrong, by name and text of their files; empty: nothing. Raises PromtoolError."""
    return _run("test", rules, tests, lambda folder: [str(folder / name) for name in tests])


def _run(verb: str, rules: str, files: Mapping[str, str], arguments: Callable[[Path], Iterable[str]]) -> str:
    command = find()
    with tempfile.TemporaryDirectory(prefix="streamforge-rules-") as name:
        folder = Path(name)
        for file, text in {RULES: rules, **files}.items():
            (folder / file).write_text(text, "utf-8")
        try:
            done = subprocess.run(
                [command, verb, "rules", *arguments(folder)],
                capture_output=True,
                text=True,
                timeout=_LIMIT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PromtoolError(f"{command} {verb} rules: {error}") from error
        said = (done.stdout + done.stderr).replace(f"{folder}/", "").strip()
        return "" if done.returncode == 0 else said or f"{command} ended with {done.returncode}"
