"""The services of StreamForge; for notebooks and scripts, `streamforge.read(…)` and `streamforge.load(…)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamforge.scripting.loading import LoadFailed as LoadFailed
    from streamforge.scripting.loading import load as load
    from streamforge.scripting.past_book import book as book
    from streamforge.scripting.stored_graph import StoredGraph as StoredGraph
    from streamforge.scripting.stored_graph import graph as graph
    from streamforge.scripting.stored_graph import graph_history as graph_history
    from streamforge.scripting.stored_series import IncompleteSeries as IncompleteSeries
    from streamforge.scripting.stored_series import StoredSeries as StoredSeries
    from streamforge.scripting.stored_series import read as read
    from streamforge_utils.model.errors import InvalidInput as InvalidInput
    from streamforge_utils.model.errors import StreamForgeError as StreamForgeError

# Imported when they are asked for: workers import this package, and start without them.
_PLACES = {
    "IncompleteSeries": "streamforge.scripting.stored_series",
    "InvalidInput": "streamforge_utils.model.errors",
    "LoadFailed": "streamforge.scripting.loading",
    "StoredGraph": "streamforge.scripting.stored_graph",
    "StoredSeries": "streamforge.scripting.stored_series",
    "StreamForgeError": "streamforge_utils.model.errors",
    "book": "streamforge.scripting.past_book",
    "graph": "streamforge.scripting.stored_graph",
    "graph_history": "streamforge.scripting.stored_graph",
    "load": "streamforge.scripting.loading",
    "read": "streamforge.scripting.stored_series",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PLACES])
