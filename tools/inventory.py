"""Prints what this image holds as CycloneDX: packages of Debian, of Python and in the web UI, the programs beside them.

    python3.11 -I tools/inventory.py REFERENCE CREATED > NAME.cdx.json

REFERENCE: the image's name and tag; CREATED: unix seconds. The image's own Python, which alone knows where its packages
are, runs it, with the standard library alone; the same image gives the same document.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

SPECIFICATION = "1.6"
PROGRAMS = {
    "kubectl": ["version", "--client", "--output", "json"],
    "helm": ["version", "--template", "{{.Version}}"],
}
"""What is no package of anybody's, and how it tells its version."""

Json = dict[str, Any]


def package_url(kind: str, name: str, version: str = "", **qualifiers: str) -> str:
    """A package's URL (purl). name: with its namespace."""
    text = f"pkg:{kind}/{quote(name)}"
    if version:
        text += f"@{quote(version, safe=':')}"
    if qualifiers:
        text += "?" + "&".join(f"{key}={quote(value, safe='/:')}" for key, value in sorted(qualifiers.items()))
    return text


def component(kind: str, name: str, version: str, url: str, **more: object) -> Json:
    """A component of the document."""
    return {"type": kind, "name": name, "version": version, "purl": url, "bom-ref": url, **more}


def system() -> Json:
    """Which distribution it is."""
    lines = Path("/etc/os-release").read_text("utf-8").splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    return {name: found.get(name, "").strip('"') for name in ("ID", "VERSION_ID")}


def debian(distribution: Json) -> list[Json]:
    """The installed packages of the distribution."""
    made = []
    for block in Path("/var/lib/dpkg/status").read_text("utf-8").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status") == "install ok installed":
            name, version = fields["Package"], fields["Version"]
            distro = f"{distribution['ID']}-{distribution['VERSION_ID']}"
            url = package_url(
                "deb", f"{distribution['ID']}/{name}", version, arch=fields["Architecture"], distro=distro
            )
            made.append(component("library", name, version, url))
    return made


def python() -> list[Json]:
    """The installed packages of Python, each once."""
    made: dict[str, Json] = {}
    for found in distributions():
        name, told = found.metadata["Name"], found.metadata.json.get("license_expression")
        url = package_url("pypi", re.sub(r"[-_.]+", "-", name).lower(), found.version)
        licences = {"licenses": [{"license": {"name": str(told)}}]} if told else {}
        made.setdefault(url, component("library", name, found.version, url, **licences))
    return list(made.values())


def web() -> list[Json]:
    """The packages that are built into the web UI, where that is installed, as its own inventory names them."""
    found = find_spec("streamforge")
    folders = [] if found is None else found.submodule_search_locations or []
    files = [Path(folder) / "web" / "dist" / "sbom.cdx.json" for folder in folders]
    named = [one for file in files if file.exists() for one in json.loads(file.read_text("utf-8"))["components"]]
    return [{**one, "bom-ref": one["purl"]} for one in named]


def programs() -> list[Json]:
    """Those of `PROGRAMS` that are there."""
    made = []
    for name, arguments in PROGRAMS.items():
        if shutil.which(name):
            told = subprocess.run([name, *arguments], capture_output=True, text=True, timeout=60, check=True).stdout
            version = json.loads(told)["clientVersion"]["gitVersion"] if name == "kubectl" else told.strip()
            made.append(component("application", name, version, package_url("generic", name, version)))
    return made


def document(reference: str, created: int) -> Json:
    """The whole."""
    name, _, tag = reference.rpartition(":")
    distribution = system()
    url = package_url("oci", name.rpartition("/")[2], repository_url=name, tag=tag)
    properties = [{"name": f"os:{key}", "value": value} for key, value in distribution.items()]
    found = [*debian(distribution), *python(), *web(), *programs()]
    found.sort(key=lambda one: str(one["purl"]))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, f"{reference}#{created}").urn,
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(created, UTC).isoformat(),
            "component": component("container", name, tag, url, properties=properties),
        },
        "components": found,
        "dependencies": [{"ref": url, "dependsOn": [one["bom-ref"] for one in found]}],
    }


if __name__ == "__main__":
    json.dump(document(sys.argv[1], int(sys.argv[2])), sys.stdout, indent=2)
    print()
