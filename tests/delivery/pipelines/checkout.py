"""A clone of this checkout as it is now, with a default branch at `origin`, to change files in and to ask what runs."""

from __future__ import annotations

import copy
import csv
import io
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.delivery.pipelines.tools import needed, node_program, run
from tests.places import ROOT

Json = dict[str, Any]
_ORIGIN = "git@gitlab.example:streamforge/streamforge.git"
_LIMIT_S = 300.0  # of seconds; a machine may be busy


class Checkout:
    """A repository with one commit, which is also what `origin/main` is at. Nothing in it is anybody else's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._written_out: dict[tuple[str, ...], Json] = {}
        self._environment = {
            "HOME": str(folder.parent),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_SYSTEM": os.devnull,
            **{
                f"GIT_{who}_{what}": f"{who}@example.org"
                for who in ("AUTHOR", "COMMITTER")
                for what in ("NAME", "EMAIL")
            },
        }

    def git(self, *arguments: str) -> str:
        done = self.run([needed("git"), *arguments])
        assert done.returncode == 0, f"git {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def branch(self, *changed: str) -> None:
        """Leave what was done before; on a branch of its own, commit a change of each of these files."""
        self.git("checkout", "--quiet", "--force", "main")
        self.git("clean", "-dfqx")
        if not changed:
            return
        self.git("checkout", "--quiet", "-B", "change")
        for name in changed:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a") as file:
                file.write("\n")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "Change something")

    def gitlab(self, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run gitlab-ci-local here."""
        needed("rsync")
        return self.run([*node_program("gitlab-ci-local"), "--no-color", *arguments], environment)

    def run(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None, limit_s: float = _LIMIT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a command here, as somebody without settings of their own."""
        return run(command, self.folder, {**self._environment, **(environment or {})}, limit_s)

    def jobs(self, **variables: str) -> dict[str, Json]:
        """The jobs of the pipeline that these variables describe, by name, with `stage`, `when` and `needs`."""
        done = self.gitlab("--list-csv", *_given(variables))
        assert done.returncode == 0, done.stderr
        rows = csv.DictReader(io.StringIO(done.stdout), delimiter=";")
        return {row["name"]: {**row, "needs": _names(row["needs"])} for row in rows}

    def preview(self, *arguments: str, **variables: str) -> Json:
        """The whole pipeline, with what it includes and extends written out; once for the same commit and question."""
        asked = (self.git("rev-parse", "HEAD"), *arguments, *_given(variables))
        if asked not in self._written_out:
            done = self.gitlab("--preview", *asked[1:])
            assert done.returncode == 0, done.stderr
            self._written_out[asked] = yaml.safe_load(done.stdout)
        return copy.deepcopy(self._written_out[asked])


def make(folder: Path) -> Checkout:
    """Copy every file that is or could be committed here into a new repository in `folder`."""
    listed = run([needed("git"), "ls-files", "-z", "--cached", "--others", "--exclude-standard"], ROOT)
    assert listed.returncode == 0, listed.stderr
    for name in filter(None, listed.stdout.split("\0")):
        source, target = ROOT / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    found = Checkout(folder)
    found.git("init", "--quiet", "--initial-branch", "main")
    found.git("add", "--all")
    found.git("commit", "--quiet", "--message", "Everything")
    found.git("remote", "add", "origin", _ORIGIN)
    found.git("update-ref", "refs/remotes/origin/main", "HEAD")
    found.git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main")
    return found


def _given(variables: Mapping[str, str]) -> list[str]:
    named = [argument for name, value in variables.items() for argument in ("--variable", f"{name}={value}")]
    return [*named, "--ignore-predefined-vars", ",".join(variables)] if named else []


def _names(text: str) -> list[str]:
    return [one.strip() for one in text.strip("[]").split(",") if one.strip()]
