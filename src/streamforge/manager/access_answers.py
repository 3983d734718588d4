"""The JSON that the API answers about who asks."""

from __future__ import annotations

from typing import Annotated

import msgspec

from streamforge.manager.answers import meaning, one_of


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """What the request's token may do."""

    role: Annotated[str, one_of(("reader", "operator")), meaning("reader: every GET. operator: everything.")]
    version: Annotated[str, meaning("Of the queue-manager.")]
