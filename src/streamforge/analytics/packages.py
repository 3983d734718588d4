"""The packages that analysts need, which the library does without. None of them is imported here."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

from streamforge_utils.model.errors import ConfigError


def require(what: str, packages: Mapping[str, str], otherwise: str = "") -> None:
    """Raises ConfigError for the first of `packages` that is not installed here, and names the extra that brings it.

    what: needs them. otherwise: what can be done instead.
    """
    for package, extra in packages.items():
        try:
            found = importlib.util.find_spec(package)
        except ValueError:  # something else is imported under that name
            found = None
        if found is None:
            raise ConfigError(
                f"{package} is not installed, which {what} needs: install streamforge-market-data[{extra}]{otherwise}"
            )
