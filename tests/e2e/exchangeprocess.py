"""The test exchange as a process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import httpx

from streamforge.exchange.made_up_symbols import made_up_symbols
from tests import cleanenv
from tests.limits import LIMIT_S

Json = dict[str, Any]
Row = list[int | str]
"""A candle as the exchange's API writes it."""


def traded_symbols(count: int) -> list[str]:
    """Those that an exchange with so many made up symbols gives streams of: not those listed in years to come."""
    now_ms = time.time() * 1000
    return [one.symbol for one in made_up_symbols(count) if one.status == "TRADING" and one.listed_ms <= now_ms]


class Exchange:
    """A test exchange that listens; `url` is its address. command: another program that serves one, and tells it."""

    def __init__(
        self,
        arguments: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
        *,
        command: Sequence[str] = (sys.executable, "-m", "streamforge.cli", "exchange", "--json"),
    ) -> None:
        command = [*command, *arguments]
        environment = cleanenv.environment(**(settings or {}))
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(f"the exchange did not start: {self._process.communicate(timeout=LIMIT_S)[1]}")
        ready = json.loads(line)
        self.url: str = ready["url"]
        self.tls_url: str | None = ready.get("tls_url")
        self.symbols: list[str] = ready["symbols"]
        alone = httpx.Limits(max_keepalive_connections=0)  # as that of a manager
        self._client = httpx.Client(base_url=self.url, timeout=LIMIT_S, limits=alone)
        self._clock_moved = False

    def switch_on(self, fault: str) -> None:
        """Switch a fault on."""
        self._client.post("/control/faults", json={"fault": fault}).raise_for_status()

    def lift_faults(self) -> None:
        """No faults; what was counted stays."""
        self._client.delete("/control/faults").raise_for_status()

    def reset(self) -> None:
        """No faults, nothing counted, no ban, and the machine's time."""
        self.lift_faults()
        if self._clock_moved:
            self.set_clock(time.time_ns() // 1_000_000)
            self._clock_moved = False
        self._client.delete("/control/stats").raise_for_status()

    def set_clock(self, now_ms: int) -> None:
        """Let its clock show `now_ms` and run on from there, until `reset`."""
        self._client.post("/control/clock", json={"now_ms": now_ms}).raise_for_status()
        self._clock_moved = True

    def set_pace(self, **pace: object) -> None:
        """Let its clock run at `speed`, or `paced`: as fast as the clients of its streams read."""
        self._client.post("/control/clock", json=pace).raise_for_status()

    def set_status(self, symbol: str, status: str) -> Json:
        """Give a symbol another status; what the exchange knows of it then."""
        body = {"symbol": symbol, "status": status}
        found: Json = self._client.post("/control/symbols", json=body).raise_for_status().json()
        return found

    def struck(self, fault: str) -> int:
        """How often a fault that is switched on has struck."""
        found = self._client.get("/control/faults").raise_for_status().json()["faults"]
        return next(int(one["struck"]) for one in found if one["fault"] == fault)

    def stats(self) -> Json:
        """What was counted."""
        found: Json = self._client.get("/control/stats").raise_for_status().json()
        return found

    def requests(self, path: str = "klines") -> int:
        """How many requests of one endpoint were answered, however."""
        return sum(self.stats()["requests"].get(f"/api/v3/{path}", {}).values())

    def oracle(self, symbol: str, interval: str, start_ms: int, end_ms: int) -> list[Row]:
        """What a client must end up with."""
        query: dict[str, str | int] = {
            "symbol": symbol,
            "interval": interval,
            "startTime": start_ms,
            "endTime": end_ms,
        }
        rows: list[Row] = self._client.get("/oracle/klines", params=query).raise_for_status().json()
        return rows

    def kill(self) -> None:
        """End it at once."""
        self._client.close()
        self._process.kill()
        self._process.communicate(timeout=LIMIT_S)

    def close(self) -> None:
        """End it."""
        self._client.close()
        self._process.terminate()
        try:
            self._process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate(timeout=LIMIT_S)


@contextmanager
def exchange(*arguments: str, **settings: str) -> Iterator[Exchange]:
    """A test exchange until the end of the block."""
    found = Exchange(arguments, settings)
    try:
        yield found
    finally:
        found.close()
