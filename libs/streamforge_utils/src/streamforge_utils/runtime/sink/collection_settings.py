"""How a sink divides its records among collections."""

from __future__ import annotations

from typing import Annotated

import msgspec

from streamforge_utils.runtime.life.environment import variable


class CollectionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Whether there is one collection, or one a day."""

    daily: Annotated[
        bool,
        variable(
            "STREAMFORGE_DAILY_COLLECTIONS",
            "`COLLECTION_NAME` is the base of names: each record is stored in the collection of the UTC day on which "
            "it happened, `COLLECTION_NAME_20240801`",
            only="store",
        ),
    ] = False
