"""How a field of a settings struct names its environment variable, with unit and meaning.

`streamforge_utils.runtime.life.environment` reads what is declared here.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class Variable(msgspec.Struct, frozen=True):
    """One environment variable of a field, as an annotation of its type.

    only: which use of a worker it belongs to (`input`, `output`, `store`, `exchange`); empty: every worker.
    required: it must be set wherever `only` is used. unless: but where the variable of this name is set, and not to
    false; even_for: a use that needs it all the same, unless the variable `even_unless` is set.
    default: as the reference shows it, where the field's own does not tell. check: reads the text instead of the
    field's type; raises ValueError or InvalidInput. unseen: messages do not repeat its value.
    field, hint, value, secret: the field's name, type and default, and whether it is secret; added when it is read.
    """

    name: str
    meaning: str
    unit: str = ""
    only: str = ""
    required: bool = False
    unless: str = ""
    even_for: str = ""
    even_unless: str = ""
    default: str = ""
    check: Callable[[str], object] | None = None
    unseen: bool = False
    field: str = ""
    hint: object = None
    value: object = None
    secret: bool = False


variable = Variable
"""How a field declares it: `Annotated[int, variable("NAME", "its meaning")]`."""


def constant(meaning: str) -> Variable:
    """Describes a field that no variable sets."""
    return Variable("", meaning)
