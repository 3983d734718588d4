"""The sources of the test exchange's streams: the classes in the modules of this package, and those of plugins."""

from __future__ import annotations

import importlib
import pkgutil

from streamforge.exchange.endpoints import classes_in
from streamforge.exchange.stream_source import StreamSource
from streamforge_utils.plugins import plugin_modules


def source_classes() -> list[type[StreamSource]]:
    """The class of each source."""
    own = (importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__))
    return list(classes_in([*own, *plugin_modules()], StreamSource))
