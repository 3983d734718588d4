"""How a field of a settings struct names its environment variable, with unit and meaning.

`streamforge_utils.runtime.environment` reads what is declared here.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec


def variable(
    name: str,
    meaning: str,
    *,
    unit: str = "",
    only: str = "",
    required: bool = False,
    unless: str = "",
    even_for: str = "",
    even_unless: str = "",
    default: str = "",
    check: Callable[[str], object] | None = None,
    unseen: bool = False,
) -> msgspec.Meta:
    """Declare the variable of a field.

    required: it must be set wherever `only` is used, although the field has a default; unless: but where the variable
    of this name is set, and not to false; even_for: a use that needs it all the same, unless `even_unless` is set.
    default: how the reference shows a default that the value itself does not tell. check: reads the text instead of
    the field's type; raises ValueError or InvalidInput. unseen: messages do not repeat the value.
    """
    extra = {
        "env": name,
        "unit": unit,
        "only": only,
        "required": required,
        "unless": unless,
        "even_for": even_for,
        "even_unless": even_unless,
        "unseen": unseen,
        "default": default,
        "check": check,
    }
    return msgspec.Meta(description=meaning, extra=extra)
