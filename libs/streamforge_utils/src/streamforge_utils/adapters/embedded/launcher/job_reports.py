"""A job as it is observed in its folder: whether it runs, how it ended, and what it wrote."""

from __future__ import annotations

from typing import Final

import msgspec

from streamforge_utils.adapters.embedded.launcher.basket_folders import process_of
from streamforge_utils.adapters.embedded.launcher.folder import Folder, Remembered
from streamforge_utils.ports.job_log import signal_name
from streamforge_utils.ports.launcher import Job, JobState

REASON_LIMIT: Final = 2000
_LOG_SHARE: Final = 1700


def job_of(remembered: Remembered, folder: Folder, state: JobState, process: Folder) -> Job:
    """The job. process: the folder of the process that did it, and perhaps others."""
    job = Job(
        name=remembered.name,
        target=remembered.target,
        queue_id=remembered.queue_id,
        attempt=remembered.attempt,
        state=state,
        started_ms=remembered.started_ms,
        basket=remembered.basket,
    )
    if state is JobState.RUNNING:
        return job
    folder = process if folder.status() is None else folder
    status = folder.status()
    number = status - 128 if status is not None and status > 128 else None
    return msgspec.structs.replace(
        job,
        exit_code=status if number is None else None,
        signal=number,
        reason=_reason(process, status, number),
        ended_ms=max(folder.ended_ms() or 0, remembered.started_ms),
    )


def log_of(folder: Folder) -> str | None:
    """The end of what the process of the job in the folder wrote; None: there was none. Raises OSError."""
    process = process_of(folder, folder.remembered())
    return process.log_end() if process.was_started() else None


def _reason(folder: Folder, status: int | None, number: int | None) -> str:
    if status == 0:
        return ""
    if status is None:
        what = (
            "ended without an exit code: it was killed together with the process that watches it, or the machine "
            "went down"
        )
    elif number is not None:
        what = f"killed by signal {number} ({signal_name(number)}){folder.suspended()}"
    else:
        what = f"exit code {status}"
    words = folder.last_words(_LOG_SHARE)
    return (f"{what}; it last wrote:\n{words}" if words else f"{what}; it wrote nothing")[:REASON_LIMIT]
