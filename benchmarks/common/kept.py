"""What was measured, as build/ keeps it: one benchmark can be measured again without all the others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from benchmarks.common.machine import Machine
from benchmarks.common.measuring import Section


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """A run, or a whole one of which something was measured again since.

    sections: by the name of their benchmark. runs, disturbed: as `Quiet` counted them. again: what is of a later run.
    """

    machine: Machine
    minutes: float
    runs: int
    disturbed: int
    sections: Mapping[str, Section]
    again: tuple[str, ...] = ()

    def is_of(self, machine: Machine) -> bool:
        """Whether it was measured on this machine, this day: else numbers do not belong together."""
        return msgspec.structs.replace(self.machine, load=0.0) == msgspec.structs.replace(machine, load=0.0)

    def followed_by(self, later: Measured) -> Measured:
        """This run with the sections of a later one in the place of its own."""
        return Measured(
            machine=self.machine,
            minutes=self.minutes + later.minutes,
            runs=self.runs + later.runs,
            disturbed=self.disturbed + later.disturbed,
            sections={**self.sections, **later.sections},
            again=tuple(dict.fromkeys((*self.again, *later.sections))),
        )


def keep(path: Path, measured: Measured) -> None:
    """Write it, for a person to read too."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(measured), indent=2))


def kept(path: Path) -> Measured:
    """Read it. Raises FileNotFoundError, or msgspec.DecodeError for what is of another version."""
    return msgspec.json.decode(path.read_bytes(), type=Measured)
