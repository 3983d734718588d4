"""coverage, export, series and symbols."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamforge.cli import options as o
from streamforge.cli.session import Where

_All = Annotated[
    bool,
    typer.Option("--all", help="Without TIME_RANGE: the whole life of the series, not only what was asked for so far."),
]


def coverage(
    what: Annotated[list[str], typer.Argument(metavar="QUEUE_ID | SYMBOL TYPE [TIME_RANGE]", show_default=False)],
    verify: Annotated[
        bool, typer.Option("--verify", help="Count the records in the store first, and mark what is gone.")
    ] = False,
    life: _All = False,
    data: o.Data = None,
    server: o.Server = None,
    token_file: o.TokenFile = None,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Show which time ranges are stored, and a reason for each one that is not.

    Without TIME_RANGE it speaks of what was asked for so far, from the first range to the last, and names that span;
    what lies between and was never loaded is unknown.
    Exit code 1 if a range is not loaded (unknown) or missing although the exchange has it (ours).
    """
    from streamforge.cli.coverage import coverage as work

    o.debugging(debug)
    return o.run(
        work(
            what,
            Where(data=data, server=server, token_file=token_file, debug=debug),
            verify=verify,
            life=life,
            as_json=as_json,
        )
    )


def export(
    what: Annotated[
        list[str], typer.Argument(metavar="QUEUE_ID | COLLECTION | SYMBOL TYPE [TIME_RANGE]", show_default=False)
    ],
    file: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write to a file, which appears when whole; its suffix names the format: .csv, .csv.gz, .jsonl, "
            ".jsonl.gz or .parquet. - is stdout.",
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="csv|jsonl|parquet",
            help="For stdout, and for a file whose suffix names no format; it must not contradict the suffix. "
            "parquet needs the extra `parquet`.",
            show_default="csv",
        ),
    ] = None,
    times: Annotated[
        str | None,
        typer.Option(
            "--time",
            metavar="ms|iso|timestamp",
            help="How open_time and close_time are written: as unix milliseconds (ms, in CSV and JSON lines if nothing "
            "is said), as 2024-08-01T12:30:00.000Z (iso, not in Parquet), or as timestamps in UTC (timestamp, in "
            "Parquet if nothing is said).",
        ),
    ] = None,
    life: _All = False,
    data: o.Data = None,
    server: o.Server = None,
    token_file: o.TokenFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --output: print a summary as JSON.")] = False,
    debug: o.Debug = False,
) -> int:
    """Write stored records to a file or to stdout: oldest first, each once, whichever collections they lie in.

    A CSV has a header of the record's field names; numbers are the shortest text that reads back to the same double.
    How many records there were, and which ranges are missing, is said on stderr.
    """
    from streamforge.cli.exporting import export as work

    o.debugging(debug)
    where = Where(data=data, server=server, token_file=token_file, debug=debug)
    return o.run(work(what, where, form=form, file=file, times=times, life=life, as_json=as_json))


def series(
    pattern: Annotated[
        str | None, typer.Argument(metavar="[PATTERN]", help="Of the symbol: BTCUSDT, '*USDT'; or a part of it.")
    ] = None,
    data: o.Data = None,
    server: o.Server = None,
    token_file: o.TokenFile = None,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """List the series that are stored: from when to when, how many records, and whether there are holes."""
    from streamforge.cli.listing import series as work

    o.debugging(debug)
    return o.run(work(pattern, Where(data=data, server=server, token_file=token_file, debug=debug), as_json=as_json))


def symbols(
    pattern: Annotated[
        str | None, typer.Argument(metavar="[PATTERN]", help="BTCUSDT, '*USDT'; or a part of the symbol: btc.")
    ] = None,
    status: Annotated[
        str | None,
        typer.Option("--status", metavar="STATUS", help="Only these: TRADING, BREAK, … (the exchange's words)."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=10_000, help="At most so many.")] = 50,
    data: o.Data = None,
    server: o.Server = None,
    token_file: o.TokenFile = None,
    exchange: o.ExchangeOfData = None,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """List the symbols that the exchange has, with their status."""
    from streamforge.cli.listing import symbols as work

    o.debugging(debug)
    where = Where(data=data, server=server, token_file=token_file, exchange=exchange, debug=debug)
    return o.run(work(pattern, where, status=status, limit=limit, as_json=as_json))
