"""Templates of Jobs for tests, whose settings are written like fields of their own."""

from __future__ import annotations

from typing import Any

import msgspec

from streamforge_utils.adapters.kubernetes.manifest import Template


def changed(template: Template, **changes: Any) -> Template:
    """The template with these fields of it, or else of its settings."""
    own = {name: changes.pop(name) for name in Template.__struct_fields__ if name in changes}
    settings = msgspec.structs.replace(template.settings, **changes)
    return msgspec.structs.replace(template, **{"settings": settings, **own})
