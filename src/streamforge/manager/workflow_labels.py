"""Labels that people give workflows, to find them by: a small map of texts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from streamforge_utils.model.errors import InvalidInput

MOST_LABELS = 16
"""Of one workflow."""
LONGEST = 63
"""Characters of a key, and of a value."""
NAMED = "label:"
"""Precedes a label's key where a workflow's state can be selected by it."""

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}", re.ASCII)
_EXAMPLE = "write team:research"


def check_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """The labels, sorted by key. Raises InvalidInput."""
    if len(labels) > MOST_LABELS:
        raise InvalidInput("labels", f"a workflow has at most {MOST_LABELS} labels, these are {len(labels)}")
    for key, value in labels.items():
        if _KEY.fullmatch(key) is None:
            raise InvalidInput(
                "labels",
                f"the key {key[:80]!r} of a label must begin with a letter or digit and hold at most {LONGEST} "
                "letters, digits and . _ / -",
            )
        if not 0 < len(value) <= LONGEST or not value.isprintable():
            raise InvalidInput(
                "labels", f"the value {value[:80]!r} of label {key} must have 1 to {LONGEST} printable characters"
            )
    return dict(sorted(labels.items()))


def parsed_labels(texts: Iterable[str], field: str = "label") -> list[tuple[str, str]]:
    """Labels written as `key:value`. Raises InvalidInput for `field`."""
    found: list[tuple[str, str]] = []
    for text in texts:
        key, colon, value = text.partition(":")
        if not colon:
            raise InvalidInput(field, f"label {text[:80]!r} is no key and value: {_EXAMPLE}")
        try:
            found += check_labels({key: value}).items()
        except InvalidInput as error:
            raise InvalidInput(field, f"label {text[:80]!r}: {error}") from error
    return found
