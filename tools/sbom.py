"""The inventory of an image: the script that the image's own Python runs, and CycloneDX's word on what it printed."""

from __future__ import annotations

from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

INVENTORY = Path(__file__).with_name("inventory.py").read_text("utf-8")
"""A script for Python 3.11 and its standard library; its arguments are the image's name and tag, and unix seconds."""


class InventoryError(Exception):
    """What an image says of itself is no valid document; the message says what is wrong."""


def checked(text: str) -> str:
    """`text`, held against CycloneDX's own schema. Raises InventoryError."""
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if problem is not None:
        raise InventoryError(f"its inventory is no valid CycloneDX: {str(problem.data)[:2000]}")
    return text
