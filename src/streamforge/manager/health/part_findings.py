"""What is found of each part that the manager stands on, from what was seen of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from streamforge.manager.engine.lifecycle.ban import Ban
from streamforge.manager.health.findings import (
    FindingCode,
    careful,
    exchange_that_answered,
    exchange_that_is_silent,
    fails,
    works,
)
from streamforge.manager.health.room import room_in_database, room_on_disk, room_unknown
from streamforge.manager.schedules.service import Listed
from streamforge_utils.model.timeranges import format_ms
from streamforge_utils.model.usage import Sample
from streamforge_utils.ports.provisioning import Finding
from streamforge_utils.ports.store import Usage

_NAMED = 5
"""Of so many schedules or documents each has a finding of its own."""

_NEXT = {
    "bus": "run `streamforge doctor` where the manager runs: it sends a message, and says what keeps it from arriving",
    "store": "run `streamforge doctor` where the manager runs: it stores a document, and says what keeps it from that",
    "launcher": "run `streamforge doctor` where the manager runs: it starts a worker, and says what it lacks",
    "reconciler": "read the manager's log; if it says nothing, start the manager again: workflows go on from there",
}
_FAILS = {
    "bus": FindingCode.BUS_FAILS,
    "store": FindingCode.STORE_FAILS,
    "launcher": FindingCode.LAUNCHER_FAILS,
    "reconciler": FindingCode.RECONCILER_FAILS,
}


class SeenExchange(NamedTuple):
    """What the exchange answered: how far it is ahead of this machine, or why it did not answer; else nobody asked."""

    ahead_s: float | None
    why: str


class SeenRoom(NamedTuple):
    """What the data take, with samples up to now, and what the disk has left; or why that cannot be told."""

    usage: Usage | None
    samples: Sequence[Sample]
    free_bytes: int | None
    why: str


def of_settings(misspelt: Iterable[str], doubtful: Iterable[str]) -> list[Finding]:
    """Of sentences about settings."""
    next_step = "correct it where the manager's environment is set, and start the manager again"
    kinds = ((FindingCode.SETTING_MISSPELT, misspelt), (FindingCode.SETTING_DOUBTFUL, doubtful))
    found = [careful("settings", one, next_step, code=code.value) for code, sentences in kinds for one in sentences]
    return found or [works("settings", "the settings are accepted")]


def of_parts(parts: Mapping[str, str | None]) -> list[Finding]:
    """Of what the readiness probe has found."""
    return [
        works(part, "it answers" if part != "reconciler" else "workflows are looked at")
        if why is None
        else fails(part, why, _NEXT[part], code=_FAILS[part].value)
        for part, why in parts.items()
    ]


def of_room(room: SeenRoom) -> Finding:
    """Of the store's size, and of the disk where the store is files."""
    if room.usage is None:
        return room_unknown(room.why)
    if room.free_bytes is None:
        return room_in_database(room.usage, room.samples)
    return room_on_disk(room.usage, room.samples, room.free_bytes)


def of_exchange(named: str, seen: SeenExchange, ban: Ban | None) -> Iterator[Finding]:
    """Nothing where nobody asked it. ban: that lasts."""
    if ban is not None:
        why = f": {ban.reason}" if ban.reason else ""
        told = f"{named} refuses every call from this address until {format_ms(ban.until_ms)}{why}"
        next_step = "wait: loaders go on by themselves then; run fewer programs that ask it from this address"
        yield fails("exchange", told, next_step, code=FindingCode.EXCHANGE_BANNED.value)
    elif seen.why:
        next_step = "see whether it is reached from where the manager runs: `streamforge doctor` asks it there"
        yield exchange_that_is_silent(named, seen.why, next_step)
    elif seen.ahead_s is not None:
        yield exchange_that_answered(named, took_s=None, ahead_s=seen.ahead_s)


def of_schedules(listed: Sequence[Listed]) -> list[Finding]:
    """Nothing where there are none."""
    overdue = [one for one in listed if one.overdue]
    code = FindingCode.SCHEDULE_OVERDUE.value
    found = [
        careful(
            "schedules",
            f"{one.schedule.name}: {one.overdue}",
            f"see `streamforge schedule show {one.schedule.name}`",
            code=code,
        )
        for one in overdue
    ]
    if listed and not overdue:
        return [works("schedules", f"none of {len(listed)} is overdue")]
    more = careful("schedules", f"{len(found) - _NAMED} more are overdue", "see `streamforge schedule list`", code=code)
    return found if len(found) <= _NAMED else [*found[:_NAMED], more]


def of_documents(damaged: Mapping[str, str]) -> list[Finding]:
    """Of workflows, schedules and coverage that cannot be read. damaged: why, by name."""
    next_step = "restore the store from a backup, or remove the workflow or schedule"
    code = FindingCode.DOCUMENT_UNREADABLE.value
    found = [careful("documents", f"{name}: {why}", next_step, code=code) for name, why in damaged.items()]
    more = careful("documents", f"{len(found) - _NAMED} more cannot be read", next_step, code=code)
    return found if len(found) <= _NAMED else [*found[:_NAMED], more]
