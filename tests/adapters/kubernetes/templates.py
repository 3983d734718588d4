"""Templates of Jobs for tests, whose settings are written like fields of their own, and the Role of a manager."""

from __future__ import annotations

from typing import Any

import msgspec

from streamforge_utils.adapters.kubernetes.examiner import RIGHTS
from streamforge_utils.adapters.kubernetes.manifest import Template


def changed(template: Template, **changes: Any) -> Template:
    """The template with these fields of it, or else of its settings."""
    own = {name: changes.pop(name) for name in Template.__struct_fields__ if name in changes}
    settings = msgspec.structs.replace(template.settings, **changes)
    return msgspec.structs.replace(template, **{"settings": settings, **own})


def role_rules() -> list[dict[str, Any]]:
    """The rules of a Role that gives the rights that a manager needs and no other."""
    return [{"apiGroups": [right.group], "resources": [right.resource], "verbs": list(right.verbs)} for right in RIGHTS]
