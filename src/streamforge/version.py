"""The version of StreamForge that is installed."""

from __future__ import annotations

from functools import cache
from typing import Final

DISTRIBUTION: Final = "streamforge-market-data"
"""The name of the services' wheel. `streamforge`, the name of the import and of the command, is another project's in
the public package index."""


@cache
def installed_version() -> str:
    """As the metadata of the installed wheel say it, e.g. `0.1.0`."""
    from importlib.metadata import version  # not needed for `--help`

    return version(DISTRIBUTION)
