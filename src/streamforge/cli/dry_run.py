"""What `load --dry-run` prints: what a load would do and take, told by the manager before anything is started."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from streamforge.cli import terminal
from streamforge.cli.client import to_json
from streamforge.cli.nothing_new import check_news
from streamforge.cli.session import Mode, Where, session
from streamforge.manager import plan_answers
from streamforge.manager.plan_answers import free_bytes, warnings_of
from streamforge_utils.model.usage import shown_size

if TYPE_CHECKING:
    from rich.text import Text

ASK_S = 120.0
"""How long the manager may take: it asks the exchange and its archive."""


async def forecast(where: Where, request: object, *, as_json: bool) -> int:
    """Ask what `request`, a body of `POST /plans`, would load; 0, also where it does not fit. Raises NothingNew."""
    async with session(where, Mode.ASK, loads=True) as found:
        with terminal.said_late("waiting for the manager, which asks the exchange first"):
            answer = await found.api.call("POST", "/plans", body=request, within_s=ASK_S, tries=1)
        check_news(found.api, answer)
        told = found.api.read(answer, plan_answers.Forecast)
        if found.own and told.free_bytes is not None:  # its folder may be one for the time that this takes
            free = free_bytes(where.folder)
            doubts = warnings_of(told.store_bytes, told.download_bytes, free, told.licence_left_bytes)
            told = msgspec.structs.replace(told, free_bytes=free, warnings=doubts)
            answer = msgspec.json.encode(told)
    if as_json:
        terminal.write(to_json(msgspec.json.decode(answer)))
        return 0
    span = terminal.day_span(told.time_range.start_ms, told.time_range.end_ms)
    rows: list[list[str | Text]] = [
        [
            terminal.day_span(part.start_ms, part.end_ms),
            part.source,
            terminal.number(part.records),
            terminal.number(part.requests) if part.requests else "",
            shown_size(part.download_bytes) if part.download_bytes else "",
            part.reason,
        ]
        for part in told.parts
    ]
    rows.extend(
        [terminal.day_span(gap.start_ms, gap.end_ms), "none", "", "", "", gap.cause or ""] for gap in told.unknown
    )
    if rows:
        columns = ["range", "source", "records", "requests", "download", "reason"]
        terminal.table(columns, rows, right=("records", "requests", "download"))
    terminal.say(f"{told.symbol} {told.type}, {span}: {_sum(told)}")
    terminal.say(_room(told))
    for warning in told.warnings:
        terminal.say(f"careful: {warning}")
    terminal.say("nothing was started: the same without --dry-run loads it")
    return 0


def _sum(told: plan_answers.Forecast) -> str:
    there = f", {terminal.number(told.records_there)} are there already" if told.records_there else ""
    if not told.parts:
        return f"nothing is to be loaded{there}"
    asks = f"{told.requests:,} request{'' if told.requests == 1 else 's'} (weight {told.weight:,})"
    files = f" and {shown_size(told.download_bytes)} of files" if told.download_bytes else ""
    return (
        f"{terminal.records(told.records_expected)} to load{there}; {asks}{files}; about "
        f"{terminal.duration(told.seconds)} ({told.estimate})"
    )


def _room(told: plan_answers.Forecast) -> str:
    left = ""
    if told.free_bytes is not None:
        left = f"; the disk has {shown_size(told.free_bytes)} left"
    if told.licence_left_bytes is not None:
        left += f"; the store's licence leaves {shown_size(told.licence_left_bytes)}"
    return f"it takes about {shown_size(told.store_bytes)} in the store{left}"
