"""The JSON that the API answers about the logs of attempts."""

from __future__ import annotations

from typing import Annotated

import msgspec

from streamforge.manager.answers import example, meaning


class AttemptLog(msgspec.Struct, frozen=True, kw_only=True):
    """The end of what the process of an attempt has written."""

    step: Annotated[str, example("loader-api-candles")]
    attempt: int
    job: str
    ended: Annotated[bool, meaning("Whether no more will come.")]
    text: Annotated[
        str | None,
        meaning(
            "Whole lines, the last 500 or 64 KiB that its process wrote, without secrets and what others in its basket "
            "wrote. In a basket a line that names no workflow is of all of them: it has `shared: true`, or begins with "
            "`(shared)`; once the attempt has ended, the last 8 KiB of these are kept. None: there is no log: the "
            "attempt has not begun, or its log was gone before it could be kept."
        ),
    ]
    resumed: Annotated[
        bool, meaning("Whether `text` begins right behind what `after` stands for; else it is all that there is.")
    ]


class Logs(msgspec.Struct, frozen=True, kw_only=True):
    """The logs of attempts of a workflow."""

    queue_id: str
    logs: list[AttemptLog]
    after: Annotated[str, meaning("Send it as `after` to get what comes later.")]
    ended: Annotated[bool, meaning("Whether the workflow and each of these attempts have ended.")]
