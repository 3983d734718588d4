"""The forms of workflow that there are. Here alone the engine asks what form a workflow has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import reduce
from operator import or_
from typing import Any

import msgspec

from streamforge.manager.engine.document import FormPart, Workflow
from streamforge.manager.engine.form import Form

Document = dict[str, Any]

_forms: dict[type[FormPart], Form[Any, Any]] = {}
_upgrades: list[Callable[[Document], Document]] = []


def register(forms: Iterable[Form[Any, Any]], upgrade: Callable[[Document], Document] | None = None) -> None:
    """Make forms known. upgrade: makes a document of this version of one that an older version stored."""
    _forms.update({form.part: form for form in forms})
    _upgrades[:] = _upgrades if upgrade is None else [upgrade]


@contextmanager
def registered(form: Form[Any, Any]) -> Iterator[None]:
    """In the block there is this form, too."""
    register([form])
    try:
        yield
    finally:
        del _forms[form.part]


def form_of(workflow: Workflow) -> Form[Any, Any]:
    """The form of a workflow. Raises LookupError: no such form is registered."""
    try:
        return _forms[type(workflow.form)]
    except KeyError:
        raise LookupError(f"the form {type(workflow.form).__name__} of workflows is not registered") from None


def read_part(kind: type, written: object) -> FormPart:
    """A form's part of a document, as JSON has it.

    Raises msgspec.ValidationError, also for a form that is not known.
    """
    parts: Any = reduce(or_, _forms)
    part: FormPart = msgspec.convert(written, type=parts, str_keys=True)
    return part


def upgraded(document: Document) -> Document:
    """A document of an older version, as this version would have stored it."""
    for upgrade in _upgrades:
        document = upgrade(document)
    return document
