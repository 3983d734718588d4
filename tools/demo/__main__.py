"""`make demo`: loads a day of candles on this machine alone, and shows the proof that none is missing."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path

import msgspec

from streamforge.cli import terminal
from streamforge.cli.client import path_part
from streamforge.cli.command_errors import CliError, Interrupted, exit_code
from streamforge.cli.coverage_text import show_segments
from streamforge.cli.follower import followed
from streamforge.cli.load_request import Request
from streamforge.cli.outcome import Ended
from streamforge.cli.own_manager import configure_logs
from streamforge.cli.places import EXCHANGE_VARIABLE, known_origin
from streamforge.cli.session import Mode, Where, session
from streamforge.manager.coverage import answers as data_answers
from streamforge.manager.origin import BINANCE, TEST
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.model.timeranges import format_ms
from tools.demo.chart import chart

SYMBOL, TYPE, DAY = "BTCUSDT", "api_candles_1m", "2024-08-01"
BARS = 1440
ANSWER_S = 3.0
TIMEOUT_S = 120.0
_FOLDER = Path("build") / "demo"


class _Close(msgspec.Struct):
    open_time: int
    close: float


def main(arguments: list[str] | None = None) -> int:
    """Run it; 0 only if every candle is stored and proven."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--data", type=Path, help=f"the data directory; without it, one in {_FOLDER}")
    parser.add_argument("--exchange", help="binance, test or a URL; without it, Binance if it answers")
    given = parser.parse_args(arguments)
    try:
        return asyncio.run(_demo(given.data, given.exchange))
    except KeyboardInterrupt:
        return 130
    except StreamForgeError as error:
        terminal.say(f"demo: {error}")
        return exit_code(error)


async def _demo(data: Path | None, exchange: str | None) -> int:
    configure_logs(debug=False, quiet=True)
    exchange = exchange or os.environ.get(EXCHANGE_VARIABLE) or None
    if exchange is None:
        terminal.say(f"Asking Binance whether it answers from here (at most {ANSWER_S:.0f} s) …")
        exchange = BINANCE if await binance_answers() else TEST
        if exchange == TEST:
            terminal.say("It does not: using the TEST EXCHANGE of StreamForge, whose candles are made up.")
        else:
            terminal.say("It does: these are real candles.")
    # What the test exchange made up never lies in one folder with Binance's.
    folder = data if data is not None else _FOLDER / exchange if exchange in (BINANCE, TEST) else _FOLDER / "other"
    again = known_origin(folder) is not None
    if again:
        terminal.say(f"{folder} has data of an earlier run: loading the day again on top of it (--again).")
    where = Where(data=folder, exchange=exchange)
    request = Request(symbol=SYMBOL, type=TYPE, time_range=DAY, again=again)
    request.check()
    ended = await followed(where, request.start, timeout_s=TIMEOUT_S)
    closes = await _closes(where, ended.workflow.collection) if ended.workflow.status == "finished" else []
    return _tell(where, ended, closes)


async def binance_answers() -> bool:
    """Whether the exchange of the settings answers a ping in time."""
    import aiohttp

    from streamforge_utils.runtime.life.environment import load
    from streamforge_utils.runtime.life.settings import ExchangeSettings

    urls = load(ExchangeSettings, os.environ).urls
    try:
        async with (
            asyncio.timeout(ANSWER_S),
            aiohttp.ClientSession() as client,
            client.get(f"{urls[0].rstrip('/')}/api/v3/ping") as response,
        ):
            return response.status == 200
    except (TimeoutError, aiohttp.ClientError, OSError, ValueError):
        return False


async def _closes(where: Where, collection: str) -> list[_Close]:
    found: list[_Close] = []
    query: dict[str, str | int | list[str]] = {"format": "jsonl", "limit": "all", "time_range": DAY}
    async with (
        session(where, Mode.READ) as reading,
        reading.api.stream(f"/collections/{path_part(collection)}/records", query, "*/*") as pieces,
    ):
        text = b"".join([piece async for piece in pieces])
    decode = msgspec.json.Decoder(_Close).decode
    found.extend(decode(line) for line in text.splitlines())
    return found


def _tell(where: Where, ended: Ended, closes: list[_Close]) -> int:
    workflow, loaded = ended.workflow, ended.loaded
    proven = workflow.status == "finished" and is_proven(loaded.coverage, closes)
    terminal.write("")
    if closes:
        width = max(20, min(72, _columns() - 14))
        first, last = closes[0], closes[-1]
        for line in chart(
            [c.close for c in closes],
            left=format_ms(first.open_time),
            right=format_ms(last.open_time),
            width=width,
            plain=not _can_draw(),
        ):
            terminal.write(line)
        terminal.write("")
    of = "the test exchange (made up)" if where.exchange == TEST else "Binance" if where.exchange == BINANCE else ""
    terminal.write(f"series     {SYMBOL} {TYPE}, {DAY} (UTC), from {of or where.exchange}")
    terminal.write(f"asked for  {terminal.number(BARS)} candles: one for each minute of the day")
    terminal.write(f"stored     {terminal.number(len(closes))}, read back just now")
    terminal.write(f"proven     {'yes: stored keys against the grid of minutes, no hole' if proven else 'NO'}")
    show_segments(loaded.coverage)
    terminal.write(f"time       {terminal.duration(loaded.seconds)}, from the request to the proof")
    terminal.write(f"data       {where.folder}")
    terminal.write(f"workflow   {workflow.queue_id} ({workflow.status})")
    if not proven:
        if ended.interrupted is not None:
            error = Interrupted("the demo was stopped")
            error.exit_code = ended.interrupted
            raise error
        reason = f": {workflow.failure.reason}; {workflow.failure.next_step}" if workflow.failure else ""
        raise CliError(f"the day is not proven complete{reason}")
    program = _program()
    flags = where.flags()
    terminal.write("")
    terminal.write(f"In a browser: `{program} up{flags}` prints the link of the web UI, which `make ui` builds.")
    terminal.write("Try next:")
    terminal.write(f"  {program} show {workflow.queue_id}{flags}")
    terminal.write(f"  {program} export {SYMBOL} {TYPE} {DAY}{flags} --output build/btcusdt.csv")
    terminal.write(f"  {program} load ETHUSDT api_candles_1h 2024-07{where.flags(exchange=True)}")
    return 0


def is_proven(coverage: list[data_answers.Segment], closes: list[_Close]) -> bool:
    """Whether the day is stored without a hole, by the coverage and by what was read back."""
    covered = [(s.start_ms, s.end_ms) for s in coverage if s.verdict == "stored"]
    times = [close.open_time for close in closes]
    whole = len(coverage) == len(covered) and bool(covered)
    return whole and times == list(range(times[0], times[0] + BARS * 60_000, 60_000))


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size((80, 24)).columns


def _can_draw() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") in ("utf8", "utf16", "utf32")


def _program() -> str:
    """How `streamforge` is called from here."""
    found = Path(sys.executable).parent / "streamforge"
    if not found.exists():
        return f"{sys.executable} -m streamforge.cli"
    try:
        return str(found.relative_to(Path.cwd()))
    except ValueError:
        return str(found)


if __name__ == "__main__":
    sys.exit(main())
