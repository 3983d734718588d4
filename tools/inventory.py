"""Prints what this image holds as one JSON object. The image's own Python runs it, with the standard library alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

PROGRAMS = {
    "kubectl": ["version", "--client", "--output", "json"],
    "helm": ["version", "--template", "{{.Version}}"],
}
"""What is no package of anybody's, and how it tells its version."""


def system() -> dict[str, str]:
    """Which distribution it is."""
    lines = Path("/etc/os-release").read_text("utf-8").splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    return {name: found.get(name, "").strip('"') for name in ("ID", "VERSION_ID")}


def debian() -> list[dict[str, str]]:
    """The installed packages of the distribution."""
    made = []
    for block in Path("/var/lib/dpkg/status").read_text("utf-8").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status") == "install ok installed":
            made.append({"name": fields["Package"], "version": fields["Version"], "arch": fields["Architecture"]})
    return made


def python() -> list[dict[str, str]]:
    """The installed packages of Python. license: an SPDX expression, if it has one."""
    return [
        {
            "name": found.metadata["Name"],
            "version": found.version,
            "license": str(found.metadata.json.get("license_expression", "")),
        }
        for found in distributions()
    ]


def programs() -> list[dict[str, str]]:
    """Those of `PROGRAMS` that are there."""
    made = []
    for name, arguments in PROGRAMS.items():
        if shutil.which(name):
            told = subprocess.run([name, *arguments], capture_output=True, text=True, timeout=60, check=True).stdout
            version = json.loads(told)["clientVersion"]["gitVersion"] if name == "kubectl" else told.strip()
            made.append({"name": name, "version": version})
    return made


if __name__ == "__main__":
    json.dump({"system": system(), "debian": debian(), "python": python(), "programs": programs()}, sys.stdout)
