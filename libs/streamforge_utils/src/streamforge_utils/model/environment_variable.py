"""How a field of a settings struct names its environment variable, with unit and meaning.

`streamforge_utils.runtime.environment` reads what is declared here.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class Variable(msgspec.Struct, frozen=True, kw_only=True):
    """One environment variable of a field.

    only: which use of a worker it belongs to (`input`, `output`, `store`, `exchange`); empty: every worker.
    required: it must be set wherever `only` is used. unless: but where the variable of this name is set, and not to
    false; even_for: a use that needs it all the same, unless the variable `even_unless` is set.
    shown: the default as the reference shows it. check: reads the text instead of the field's type; raises ValueError
    or InvalidInput. unseen: messages do not repeat its value. field, hint, default, secret: of the field.
    """

    name: str
    meaning: str
    unit: str = ""
    only: str = ""
    required: bool = False
    unless: str = ""
    even_for: str = ""
    even_unless: str = ""
    shown: str = ""
    check: Callable[[str], object] | None = None
    unseen: bool = False
    field: str = ""
    hint: object = None
    default: object = None
    secret: bool = False


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
    """Declare the variable of a field, as `Variable` describes it; its type and default are the field's.

    default: how the reference shows a default that the value itself does not tell.
    """
    declared = Variable(
        name=name,
        meaning=meaning,
        unit=unit,
        only=only,
        required=required,
        unless=unless,
        even_for=even_for,
        even_unless=even_unless,
        shown=default,
        check=check,
        unseen=unseen,
    )
    return msgspec.Meta(description=meaning, extra={"variable": declared})


def constant(meaning: str) -> msgspec.Meta:
    """Describe a field that no variable sets."""
    return msgspec.Meta(description=meaning, extra={"variable": None})
