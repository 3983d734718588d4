"""Checks of schedules: whether any is overdue, or fails again and again."""

from __future__ import annotations

from collections.abc import AsyncIterator

from streamforge.cli import terminal
from streamforge.cli.checks.place_checks import Subject
from streamforge.cli.command_errors import ApiProblem
from streamforge.cli.session import Mode, data_folder, session
from streamforge.manager.health.findings import careful, works
from streamforge.manager.schedules import answers as schedule_answers
from streamforge_utils.ports.provisioning import Finding

PART = "schedules"


async def check_schedules(subject: Subject) -> AsyncIterator[Finding]:
    """What of the schedules a person should look at; nothing where there are no schedules."""
    where = subject.where
    if where.server is None and not data_folder(subject.folder).used():
        return
    async with session(where, Mode.READ) as found:
        try:
            listed = await found.api.get("/schedules", schedule_answers.Schedules)
        except ApiProblem as error:
            if error.kind == "not-found":  # an older manager
                return
            raise
    for name, reason in listed.unreadable.items():
        yield careful(PART, f"{name}: {reason}")
    overdue = [one for one in listed.schedules if one.overdue]
    for one in overdue:
        yield careful(PART, f"{one.name}: {one.overdue}", f"see `streamforge schedule show {one.name}{where.flags()}`")
    if listed.schedules and not overdue and not listed.unreadable:
        paused = sum(one.paused for one in listed.schedules)
        told = f"{terminal.many(len(listed.schedules), 'schedule')}, none is overdue"
        yield works(PART, f"{told}{f' ({paused} paused)' if paused else ''}")
