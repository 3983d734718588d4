"""Findings: what works, where care is needed, and what fails; also for the command `doctor`."""

from __future__ import annotations

from functools import partial

from streamforge.manager.health.finding_codes import FindingCode
from streamforge_utils.ports.provisioning import Finding

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
