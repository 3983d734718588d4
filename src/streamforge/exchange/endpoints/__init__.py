"""The endpoints that the test exchange serves: the classes in the modules of this package, and those of plugins."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from inspect import isabstract
from types import ModuleType
from typing import Any

from streamforge.exchange.endpoint import Endpoint
from streamforge_utils.plugins import plugin_modules


def endpoint_classes() -> list[type[Endpoint]]:
    """The class of each endpoint."""
    own = (importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__))
    return list(classes_in([*own, *plugin_modules()], Endpoint))


def classes_in(modules: Iterable[ModuleType], base: type[object]) -> Iterator[type[Any]]:
    """The classes derived from `base` that `modules` define themselves."""
    for module in modules:
        for one in vars(module).values():
            found = isinstance(one, type) and issubclass(one, base) and not isabstract(one)
            if found and one.__module__ == module.__name__:
                yield one
