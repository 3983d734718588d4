"""`compare`: candles that are made of stored records, beside the exchange's own."""

from __future__ import annotations

from typing import Annotated

import typer

from streamforge.cli import command_options as o
from streamforge.cli import terminal
from streamforge.cli.arguments import check_words
from streamforge.cli.bar_comparison import Comparison, compare_bars
from streamforge.cli.bar_export import BarRequest
from streamforge.cli.client import path_part, to_json
from streamforge.cli.command_errors import CliError, UsageProblem
from streamforge.cli.commands.series_commands import address_of, ask
from streamforge.cli.coverage_text import rest
from streamforge.cli.session import Mode, session
from streamforge.cli.stored_records import Reader
from streamforge.manager.coverage import answers as data_answers
from streamforge_utils.model.completeness.grid import Grid
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.kinds.bars import bar_interval
from streamforge_utils.model.kinds.registry import kind_of, normal_type, series_of
from streamforge_utils.model.timeranges import TimeRange

_SHOWN = 20


async def compare(
    what: Annotated[list[str], typer.Argument(metavar="SYMBOL TYPE CANDLES_TYPE [TIME_RANGE]", show_default=False)],
    where: o.AtManager,
    as_json: o.Json = False,
) -> int:
    """Compare candles that are made of stored trades, or of shorter candles, with stored candles of the exchange.

    Each difference is shown with both values; it proves nothing: an exchange may count a trade in a candle that it
    does not list. Candles that reach into holes are not made, and not compared.
    Exit code 1 if candles differ, or if there are none to compare.
    """
    if len(what) not in (3, 4):
        raise UsageProblem(
            "write SYMBOL TYPE CANDLES_TYPE [TIME_RANGE], as in BTCUSDT api_trades api_candles_1m 2024-08"
        )
    symbol, type_name, own_type, *given = what
    symbol, type_name, *_ = check_words([symbol, type_name, *given])
    own_type = normal_type(own_type)
    request = _request(symbol, type_name, own_type)
    async with session(where, Mode.READ) as found:
        first = [symbol, type_name, *given]
        path, query = address_of(first, where, life=False)
        known = found.api.read(await ask(found, path, query, first, where), data_answers.Coverage)
        if known.span is None:
            raise CliError(f"nothing of {' '.join(first)} is stored: there is nothing to compare")
        span = TimeRange(known.span.start_ms, known.span.end_ms)
        path = f"/coverage/{path_part(symbol)}/{path_part(own_type)}"
        answer = await ask(found, path, {"time_range": str(span)}, [symbol, own_type, str(span)], where)
        own = found.api.read(answer, data_answers.Coverage)
        result = await compare_bars(found, Reader(found, where), known, own, request, span)
    if as_json:
        terminal.write(to_json(result))
    else:
        _tell(result, f"; {rest(own, where)}" if not own.complete else "")
    return 0 if 0 < result.compared == result.equal else 1


def _request(symbol: str, type_name: str, own_type: str) -> BarRequest:
    series, own = series_of(symbol, type_name), series_of(symbol, own_type)
    if not own.interval:
        raise UsageProblem(f"type {own_type} has no interval: name the type of the stored candles, api_candles_1m")
    try:
        interval = bar_interval(own.interval)
    except InvalidInput as error:
        raise UsageProblem(str(error)) from error
    request = BarRequest(interval=interval, resampled=isinstance(kind_of(series).rule(series), Grid))
    request.check(series)
    return request


def _tell(result: Comparison, load: str) -> None:
    """load: how the exchange's own candles that lack are loaded."""
    if result.differences:
        terminal.table(
            ["time", "field", "made", "stored"],
            [[one.time, one.field, repr(one.made), repr(one.stored)] for one in result.differences[:_SHOWN]],
            right=("made", "stored"),
        )
    differing = result.compared - result.equal
    terminal.say(
        f"{terminal.many(result.compared, 'candle')} of {result.interval} compared: {terminal.number(result.equal)} "
        f"equal, {terminal.number(differing)} with a difference"
    )
    if differing:
        fields = ", ".join(f"{name} in {count:,}" for name, count in sorted(result.fields.items()))
        more = "" if len(result.differences) <= _SHOWN else "; --json lists more"
        terminal.say(f"  {fields}{more}")
    if result.only_made:
        terminal.say(f"  {result.only_made:,} more were made, and the exchange's own are not stored{load}")
    if result.only_stored:
        terminal.say(f"  {result.only_stored:,} more are stored, and could not be made")
    if result.bars is not None:
        result.bars.say()
