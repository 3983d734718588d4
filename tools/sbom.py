"""What is in an image, as a CycloneDX document: its Debian packages, its Python packages, the programs beside them.

`INVENTORY` is run by the image's own Python, which alone knows where its packages are. `document` makes the JSON of
what it printed, checked against CycloneDX's own schema. The same image gives the same document.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cyclonedx.model import Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

INVENTORY = Path(__file__).with_name("inventory.py").read_text("utf-8")
"""A script for Python 3.11 and its standard library; prints one JSON object."""


class InventoryError(Exception):
    """What an image holds makes no valid document; the message says what is wrong."""


def components(found: dict[str, Any]) -> list[Component]:
    """One for each package and program, in the order of their names within each kind."""
    system = found["system"]
    distro = f"{system['ID']}-{system['VERSION_ID']}"
    debian = [
        _component(
            ComponentType.LIBRARY,
            one,
            PackageURL("deb", system["ID"], one["name"], one["version"], {"arch": one["arch"], "distro": distro}),
        )
        for one in sorted(found["debian"], key=lambda one: (one["name"], one["arch"]))
    ]
    python = [
        _component(ComponentType.LIBRARY, one, PackageURL("pypi", None, one["name"], one["version"]))
        for one in sorted(found["python"], key=lambda one: (one["name"].lower(), one["version"]))
    ]
    programs = [
        _component(ComponentType.APPLICATION, one, PackageURL("generic", None, one["name"], one["version"]))
        for one in sorted(found["programs"], key=lambda one: str(one["name"]))
    ]
    return [*debian, *python, *programs]


def _component(kind: ComponentType, one: dict[str, str], url: PackageURL) -> Component:
    licence = one.get("license", "")
    return Component(
        type=kind,
        name=one["name"],
        version=one["version"],
        purl=url,
        bom_ref=url.to_string(),
        # An expression of SPDX, or whatever else its author calls it.
        licenses=[DisjunctiveLicense(name=licence)] if licence else None,
    )


def document(found: dict[str, Any], reference: str, created: int) -> str:
    """The JSON. reference: the image's name and tag; created: unix seconds. Raises InventoryError."""
    name, _, tag = reference.rpartition(":")
    image = PackageURL("oci", None, name.rpartition("/")[2], None, {"repository_url": name, "tag": tag})
    bom = Bom(components=components(found), serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"{reference}#{created}"))
    bom.metadata.timestamp = datetime.fromtimestamp(created, UTC)
    bom.metadata.component = Component(
        type=ComponentType.CONTAINER,
        name=name,
        version=tag,
        purl=image,
        bom_ref=image.to_string(),
        properties=[Property(name=f"os:{key}", value=value) for key, value in found["system"].items()],
    )
    bom.register_dependency(bom.metadata.component, bom.components)
    text = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2)
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if problem is not None:
        raise InventoryError(f"its inventory is no valid CycloneDX: {problem.data}")
    return text + "\n"
