"""coverage and export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamforge.cli import options as o
from streamforge.cli.session import Where


def coverage(
    what: Annotated[list[str], typer.Argument(metavar="QUEUE_ID | SYMBOL TYPE [TIME_RANGE]", show_default=False)],
    data: o.Data = None,
    server: o.Server = None,
    token_file: o.TokenFile = None,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Show which time ranges are stored, and a reason for each one that is not.

    Exit code 1 if a range is not loaded (unknown) or missing although the exchange has it (ours).
    """
    from streamforge.cli.exporting import coverage as work

    o.debugging(debug)
    return o.run(work(what, Where(data=data, server=server, token_file=token_file, debug=debug), as_json=as_json))


def export(
    what: Annotated[
        list[str], typer.Argument(metavar="QUEUE_ID | COLLECTION | SYMBOL TYPE [TIME_RANGE]", show_default=False)
    ],
    file: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to a file, which appears when whole.")
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="csv|jsonl|parquet",
            help="Default: by the file's suffix, else csv. parquet needs the extra `parquet`.",
        ),
    ] = None,
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
    return o.run(work(what, where, form=form, file=file, as_json=as_json))
