"""Instruments whose log nobody reads."""

from __future__ import annotations

import io

from streamforge_utils.ports.clock import Clock, SystemClock
from streamforge_utils.runtime.telemetry.instruments import Instruments
from streamforge_utils.runtime.telemetry.logs import make_log


def instruments(clock: Clock | None = None, target: str = "sink") -> Instruments:
    return Instruments(target, clock or SystemClock(), make_log(form="json", stream=io.StringIO()))
