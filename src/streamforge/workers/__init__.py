"""One file per target: its parameters, its `run` and its `DEFINITION`. The folder is the catalogue, with plugins."""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from typing import Any

from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.plugins import plugin_modules
from streamforge_utils.runtime.life.worker_definition import Definition

_FOLDER = Path(__file__).parent


def targets() -> list[str]:
    """Every target that has a file, or that a plugin defines, sorted; nothing is imported."""
    return sorted({*_own_targets(), *_of_plugins()})


def definition(target: str) -> Definition[Any]:
    """The definition of `target`; imports that one file. Raises InvalidInput naming the choices."""
    if target in _own_targets():
        return _own_definition(target)
    found = _of_plugins().get(target)
    if found is None:
        raise InvalidInput("target", f"target {target[:80]!r} is not known: choose one of {', '.join(targets())}")
    return found


@functools.cache
def _own_targets() -> frozenset[str]:
    return frozenset(path.stem.replace("_", "-") for path in _FOLDER.glob("[a-z]*.py"))


@functools.cache
def _own_definition(target: str) -> Definition[Any]:
    module = importlib.import_module(f"{__name__}.{target.replace('-', '_')}")
    found: Definition[Any] = module.DEFINITION
    return found


def _of_plugins() -> dict[str, Definition[Any]]:
    """The workers that plugins define; a module may have several."""
    found = (one for module in plugin_modules() for one in vars(module).values())
    return {one.target: one for one in found if isinstance(one, Definition)}
