"""A replay of what is stored in a data directory."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from streamforge import wiring
from streamforge.exchange.state import Load
from streamforge.exchange.stored_recordings import StoredPlace, load_stored
from streamforge_utils.runtime.life.object_settings import ObjectSettings
from streamforge_utils.runtime.life.settings import DataSettings


def load_of(data: Path) -> Load:
    """What an exchange reads the directory with."""
    settings = DataSettings(data_dir=data)
    objects = partial(wiring.make_object_store, ObjectSettings(), settings)
    return partial(load_stored, StoredPlace(partial(wiring.make_store, settings), objects))
