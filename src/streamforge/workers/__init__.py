"""One file per target: its parameters, its `run` and its `DEFINITION`. The folder is the catalogue."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from typing import Any

from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.runtime.worker_definition import Definition

_FOLDER = Path(__file__).parent


def targets() -> list[str]:
    """Every target that has a file, sorted; nothing is imported."""
    return list(_targets())


@functools.cache
def _targets() -> tuple[str, ...]:
    return tuple(sorted(path.stem.replace("_", "-") for path in _FOLDER.glob("[a-z]*.py")))


@functools.cache
def definition(target: str) -> Definition[Any]:
    """The definition of `target`; imports that one file. Raises InvalidInput naming the choices."""
    if target not in targets():
        raise InvalidInput("target", f"target {target[:80]!r} is not known: choose one of {', '.join(targets())}")
    module = importlib.import_module(f"{__name__}.{target.replace('-', '_')}")
    found: Definition[Any] = module.DEFINITION
    return found
