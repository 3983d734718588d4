"""The JSON that the API answers about who asked for what; as `answers.py`."""

from __future__ import annotations

from typing import Annotated

import msgspec


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was asked of a workflow."""

    request: Annotated[
        str, msgspec.Meta(description="`start`, `stop`, `retry`, `handover` or `replay`.", examples=["stop"])
    ]
    by: Annotated[
        str,
        msgspec.Meta(
            description="The name of the token, or its role where it has none; `loopback`: the server has no tokens; "
            "`batch …`, `schedule …` or `manager`: it was asked for by itself.",
            examples=["alice"],
        ),
    ]
    at: Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
