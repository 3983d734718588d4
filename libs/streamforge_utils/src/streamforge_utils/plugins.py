"""Modules of a user's own: kinds of records, workers, endpoints and streams of the test exchange.

`STREAMFORGE_PLUGINS` names Python files or folders of such, separated by commas. A module is imported under its file's
name, so that the files of one folder can import each other. What it defines is found there: `KIND` is a kind of
records (`model.kinds`), a `Definition` under any name a worker (`streamforge.workers`), an `Endpoint` or a
`StreamSource` one of the test exchange (`streamforge.exchange`).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from streamforge_utils.model.errors import ConfigError
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.kinds.registry import register, unregister

PLUGINS = "STREAMFORGE_PLUGINS"

_loaded: dict[Path, ModuleType] = {}


def load_plugins(environ: Mapping[str, str]) -> None:
    """Import what `STREAMFORGE_PLUGINS` of `environ` names, once, and register its kinds of records.

    Raises ConfigError naming the file that is not there, or cannot be imported.
    """
    for text in environ.get(PLUGINS, "").split(","):
        if text.strip():
            for file in _files(Path(text.strip()).expanduser().absolute()):
                if file not in _loaded:
                    _load(file)


def plugin_modules() -> tuple[ModuleType, ...]:
    """The modules that were loaded."""
    return tuple(_loaded.values())


def plugin_environment() -> dict[str, str]:
    """What another process must have in its environment to load the same."""
    return {PLUGINS: ",".join(map(str, _loaded))} if _loaded else {}


def unload_plugins() -> None:
    """Forget what was loaded: for tests, which load others in the same process."""
    for file, module in _loaded.items():
        if isinstance(kind := getattr(module, "KIND", None), RecordKind):
            unregister(kind)
        sys.modules.pop(module.__name__, None)
        if str(file.parent) in sys.path:
            sys.path.remove(str(file.parent))
    _loaded.clear()
    importlib.invalidate_caches()


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.glob("*.py") if not file.name.startswith(("_", "test_")))
    if not path.is_file() or path.suffix != ".py":
        raise ConfigError(f"{PLUGINS}: {path} is no Python file and no folder: correct the path")
    return [path]


def _load(file: Path) -> None:
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
        importlib.invalidate_caches()
    try:
        module = importlib.import_module(file.stem)
    except Exception as error:
        raise ConfigError(f"{PLUGINS}: {file} cannot be imported: {type(error).__name__}: {error}") from error
    if Path(getattr(module, "__file__", None) or "").absolute() != file:  # a built-in module has none
        raise ConfigError(f"{PLUGINS}: {file} has the name of another module, {module.__name__}: rename the file")
    if isinstance(kind := getattr(module, "KIND", None), RecordKind) and type(kind).__module__ == module.__name__:
        register(kind)
    _loaded[file] = module
