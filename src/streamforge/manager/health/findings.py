"""Findings: what works, where care is needed, and what fails; also for the command `doctor`."""

from __future__ import annotations

from enum import StrEnum
from functools import partial

from streamforge_utils.ports.provisioning import Finding


class FindingCode(StrEnum):
    """A code is never given another meaning, nor taken away; a newer version may know more."""

    WORKS = "works"
    SETTING_MISSPELT = "setting-misspelt"
    SETTING_DOUBTFUL = "setting-doubtful"
    BUS_FAILS = "bus-fails"
    STORE_FAILS = "store-fails"
    LAUNCHER_FAILS = "launcher-fails"
    RECONCILER_FAILS = "reconciler-fails"
    ROOM_UNKNOWN = "room-unknown"
    DISK_FILLING = "disk-filling"
    STORE_FILLING = "store-filling"
    STORE_FULL = "store-full"
    EXCHANGE_SILENT = "exchange-silent"
    EXCHANGE_BANNED = "exchange-banned"
    CLOCK_WRONG = "clock-wrong"
    SCHEDULE_OVERDUE = "schedule-overdue"
    DOCUMENT_UNREADABLE = "document-unreadable"


MEANINGS: dict[FindingCode, str] = {
    FindingCode.WORKS: "nothing is wrong with this part",
    FindingCode.SETTING_MISSPELT: "a variable is set that nothing reads, and its name is almost that of a setting",
    FindingCode.SETTING_DOUBTFUL: "settings are accepted, but probably do not do what was meant",
    FindingCode.BUS_FAILS: "the bus does not answer",
    FindingCode.STORE_FAILS: "the store does not answer",
    FindingCode.LAUNCHER_FAILS: "the launcher does not answer, or what it knows of the jobs is out of date",
    FindingCode.RECONCILER_FAILS: "workflows are not driven",
    FindingCode.ROOM_UNKNOWN: "how much room is left, or whether there is a limit, cannot be told",
    FindingCode.DISK_FILLING: "the disk has little room left, or will soon",
    FindingCode.STORE_FILLING: "the store is near the limit of its licence, or will be soon",
    FindingCode.STORE_FULL: "the store has reached that limit",
    FindingCode.EXCHANGE_SILENT: "the exchange does not answer",
    FindingCode.EXCHANGE_BANNED: "the exchange refuses every call from this address for a time",
    FindingCode.CLOCK_WRONG: "the clocks of this machine and of the exchange differ",
    FindingCode.SCHEDULE_OVERDUE: "a schedule should have fired, or fails again and again",
    FindingCode.DOCUMENT_UNREADABLE: "the stored document of a workflow, schedule or coverage is damaged",
}

VERDICTS = ("fails", "careful", "works")
"""The worst first."""

SKEW_S = 5.0
"""By how much two clocks may differ."""


def _finding(verdict: str, part: str, detail: str, next_step: str = "", *, code: str = "") -> Finding:
    return Finding(part=part, verdict=verdict, detail=detail, next_step=next_step, code=code)


works = partial(_finding, "works", code=FindingCode.WORKS.value)
careful, fails = partial(_finding, "careful"), partial(_finding, "fails")


def exchange_that_answered(named: str, *, took_s: float | None, ahead_s: float) -> Finding:
    """What is told of an exchange that has said its time.

    took_s: its answer; None: that was not measured now. ahead_s: by how much its clock is ahead of this machine's.
    """
    if abs(ahead_s) > SKEW_S + (took_s or 0.0):
        told = f"{named} answers, but its clock and this machine's differ by {abs(ahead_s):,.1f} s"
        return careful("exchange", told, "set this machine's clock", code=FindingCode.CLOCK_WRONG.value)
    in_time = "" if took_s is None else f" in {took_s * 1000:.0f} ms"
    return works("exchange", f"{named} answered{in_time}")


def exchange_that_is_silent(named: str, why: str, next_step: str) -> Finding:
    """What is told of an exchange that does not answer."""
    told = f"{named} does not answer: {why.rstrip('.')}"
    return fails("exchange", told, next_step, code=FindingCode.EXCHANGE_SILENT.value)
