"""What `load --dry-run` prints: what a load would do and take, told by the manager before anything is started."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from streamforge.cli import terminal
from streamforge.cli.client import said_here, to_json
from streamforge.cli.news_check import check_news
from streamforge.cli.session import Mode, Where, session
from streamforge.manager import plan_answers
from streamforge.manager.note_codes import told_by
from streamforge.manager.plan_answers import free_bytes, warnings_of
from streamforge_utils.model.usage import shown_size

if TYPE_CHECKING:
    from rich.text import Text

ASK_S = 120.0
"""How long the manager may take: it asks the exchange and its archive."""


T = TypeVar("T", plan_answers.Forecast, plan_answers.BatchForecast)


async def _asked(where: Where, request: object, form: type[T], *, as_json: bool) -> T | None:
    """What `request`, a body of `POST /plans`, would load; None: it is printed as JSON. Raises NothingNew."""
    async with session(where, Mode.ASK, loads=True) as found:
        with terminal.said_late("waiting for the manager, which asks the exchange first"):
            answer = await found.api.call("POST", "/plans", body=request, within_s=ASK_S, tries=1)
        check_news(found.api, answer)
        told = found.api.read(answer, form)
        if found.own and told.free_bytes is not None:  # its folder may be one for the time that this takes
            free = free_bytes(where.folder)
            doubts = warnings_of(told.store_bytes, told.download_bytes, free, told.licence_left_bytes)
            told = msgspec.structs.replace(told, free_bytes=free, **told_by("warning", doubts))
            answer = msgspec.json.encode(told)
    if as_json:
        terminal.write(to_json(msgspec.json.decode(answer)))
        return None
    return told


async def forecast(where: Where, request: object, *, as_json: bool) -> int:
    """Print what `request` would load; 0, also where it does not fit. Raises NothingNew."""
    told = await _asked(where, request, plan_answers.Forecast, as_json=as_json)
    if told is None:
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
    _say(f"{told.symbol} {told.type}, {span}", told)
    return 0


async def forecast_many(where: Where, request: object, *, as_json: bool) -> int:
    """Print what `request`, of many symbols, would load; 0, also where it does not fit."""
    told = await _asked(where, request, plan_answers.BatchForecast, as_json=as_json)
    if told is None:
        return 0
    rows: list[list[str | Text]] = [
        [
            one.symbol,
            " + ".join(sorted(one.parts)),
            terminal.number(one.records_expected),
            terminal.number(one.records_there),
            terminal.number(one.requests) if one.requests else "",
            shown_size(one.download_bytes) if one.download_bytes else "",
            terminal.short(said_here(one.note)),
        ]
        for one in told.each
    ]
    columns = ["symbol", "source", "records", "there", "requests", "download", "note"]
    terminal.table(columns, rows, right=("records", "there", "requests", "download"))
    if told.each_left_out:
        terminal.say(f"and {terminal.many(told.each_left_out, 'symbol')} more that were looked at")
    counts = {"delisted": told.delisted, "only in the archive": told.archived}
    of = "".join(f", {terminal.number(count)} {what}" for what, count in counts.items() if count)
    seen = {"with nothing to load": told.nothing, "refused": told.refused}
    of += "".join(f", {terminal.number(count)} {what}" for what, count in seen.items() if count)
    if told.looked_at < told.size:
        of += f"; {terminal.number(told.looked_at)} of them were looked at, and the sums are scaled up"
    _say(f"{terminal.many(told.size, 'symbol')}{of}; {told.type} {told.requested}", told)
    if told.cut_short:
        terminal.say(f"careful: no more symbols were looked at: {told.cut_short}")
    return 0


def _say(what: str, told: plan_answers.Forecast | plan_answers.BatchForecast) -> None:
    """Say the sums, the room and what is to be careful of."""
    terminal.say(f"{what}: {_sum(told)}")
    terminal.say(_room(told))
    for warning in told.warnings:
        terminal.say(f"careful: {warning}")
    if isinstance(told, plan_answers.BatchForecast) and told.unknown:
        more = ", …" if len(told.unknown_first) < told.unknown else ""
        terminal.say(f"careful: left out, as the exchange has no such symbol: {', '.join(told.unknown_first)}{more}")
    terminal.say("nothing was started: the same without --dry-run loads it")


def _sum(told: plan_answers.Forecast | plan_answers.BatchForecast) -> str:
    there = f", {terminal.number(told.records_there)} are there already" if told.records_there else ""
    if not told.seconds:
        return f"nothing is to be loaded{there}"
    asks = f"{told.requests:,} request{'' if told.requests == 1 else 's'} (weight {told.weight:,})"
    files = f" and {shown_size(told.download_bytes)} of files" if told.download_bytes else ""
    return (
        f"{terminal.records(told.records_expected)} to load{there}; {asks}{files}; about "
        f"{terminal.duration(told.seconds)} ({told.estimate})"
    )


def _room(told: plan_answers.Forecast | plan_answers.BatchForecast) -> str:
    left = ""
    if told.free_bytes is not None:
        left = f"; the disk has {shown_size(told.free_bytes)} left"
    if told.licence_left_bytes is not None:
        left += f"; the store's licence leaves {shown_size(told.licence_left_bytes)}"
    return f"it takes about {shown_size(told.store_bytes)} in the store{left}"
