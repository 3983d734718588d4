"""load, wait, queues, show, events, stop, ping, retry, rm and dlq."""

from __future__ import annotations

from typing import Annotated

import typer

from streamforge.cli import options as o
from streamforge.cli.session import Where


def load(
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL", help="As the exchange spells it, e.g. BTCUSDT.")],
    type_name: Annotated[
        str, typer.Argument(metavar="TYPE", help="What is loaded, e.g. api_candles_1m; any interval of the exchange.")
    ],
    time_range: Annotated[
        str,
        typer.Argument(
            metavar="TIME_RANGE",
            help="START[:END], half-open, UTC: 2024, 2024-08, 2024-08-01 or 2024-08-01T12:30Z; "
            "START alone is that year, month or day, `2024:` is until now. Also today, yesterday, and -30d "
            "(the last 30 days; s m h d w M y).",
        ),
    ],
    again: Annotated[bool, typer.Option("--again", help="Load also what coverage says is stored.")] = False,
    detach: o.Detach = False,
    timeout: o.Timeout = None,
    data: o.Data = None,
    server: o.Server = None,
    token_file: o.TokenFile = None,
    exchange: o.Exchange = None,
    launcher: o.Launcher = None,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Load a time range of a symbol, and wait until it is stored and proven complete.

    It uses the manager at --server, or the one that runs on the data directory, or its own for as long as it takes.
    Only what coverage lacks is loaded. Ctrl-C stops the workflow in order; a second one leaves at once (exit code 130).
    A workflow that was under way already, which the load then joins, Ctrl-C leaves to the manager that drives it.

    Exit code 0 means: all of it is stored, and every hole has a reason that is the exchange's.
    --json ends with one object: queue_id, status, records_expected and records_stored (of the whole range),
    records_there (those of them that were stored before), coverage, seconds.
    """
    from streamforge.cli.loading import Request
    from streamforge.cli.loading import load as work

    o.debugging(debug)
    where = Where(data=data, server=server, token_file=token_file, exchange=exchange, launcher=launcher, debug=debug)
    request = Request(symbol=symbol, type=type_name, time_range=time_range, again=again)
    return o.run(work(request, where, detach=detach, timeout_s=timeout, as_json=as_json))


def wait(
    queue_id: o.QueueId,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=0.1,
            help="Wait no longer: the workflow is left to its manager, or stopped in order if that is this command.",
        ),
    ] = None,
    data: o.Data = None,
    server: o.Server = None,
    token_file: o.TokenFile = None,
    exchange: o.ExchangeOfData = None,
    launcher: o.Launcher = None,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Wait for the end of a workflow that is under way, with the progress and the exit codes of `load`.

    Where no manager drives it, this command does so with its own. Ctrl-C, or the end of the time, leaves the workflow
    to the manager that drives it; one that only this command drives is stopped in order, as by `load`.
    """
    from streamforge.cli.loading import wait as work

    o.debugging(debug)
    where = Where(data=data, server=server, token_file=token_file, exchange=exchange, launcher=launcher, debug=debug)
    return o.run(work(queue_id, where, timeout_s=timeout, as_json=as_json))


def queues(
    status: Annotated[
        list[str] | None,
        typer.Option("--status", metavar="STATUS", help="Only these (repeatable): pending, running, stopping, …"),
    ] = None,
    symbol: Annotated[str | None, typer.Option("--symbol", metavar="SYMBOL", help="Only this symbol.")] = None,
    type_name: Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Only this type.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, max=100_000, help="At most so many, the newest.")
    ] = 50,
    data: o.Data = None,
    server: o.Server = None,
    token_file: o.TokenFile = None,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """List workflows, newest first."""
    from streamforge.cli.workflows import queues as work

    o.debugging(debug)
    where = Where(data=data, server=server, token_file=token_file, debug=debug)
    return o.run(work(where, statuses=status or [], symbol=symbol, type_name=type_name, limit=limit, as_json=as_json))


def show(
    queue_id: o.QueueId,
    data: o.Data = None,
    server: o.Server = None,
    token_file: o.TokenFile = None,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Show a workflow: its steps, their attempts, how far it is, and why it failed if it did."""
    from streamforge.cli.workflows import show as work

    o.debugging(debug)
    return o.run(work(queue_id, Where(data=data, server=server, token_file=token_file, debug=debug), as_json=as_json))


def events(
    queue_id: o.QueueId,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until the workflow has ended.")
    ] = False,
    data: o.Data = None,
    server: o.Server = None,
    token_file: o.TokenFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
    debug: o.Debug = False,
) -> int:
    """Show what the workers of a workflow said, oldest first."""
    from streamforge.cli.workflows import events as work

    o.debugging(debug)
    where = Where(data=data, server=server, token_file=token_file, debug=debug)
    return o.run(work(queue_id, where, follow=follow, as_json=as_json))


def stop(
    queue_id: o.QueueId,
    detach: o.Detach = False,
    timeout: Annotated[
        float | None, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="Give up waiting after so long.")
    ] = None,
    data: o.Data = None,
    server: o.Server = None,
    token_file: o.TokenFile = None,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Stop a workflow in order, and wait until it has ended. What it has stored stays, and is in the coverage."""
    from streamforge.cli.workflows import stop as work

    o.debugging(debug)
    where = Where(data=data, server=server, token_file=token_file, debug=debug)
    return o.run(work(queue_id, where, wait=not detach, timeout_s=timeout, as_json=as_json))


def ping(
    queue_id: o.QueueId,
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=0.1, max=30, help="How long answers are waited for.")
    ] = 2.0,
    data: o.Data = None,
    server: o.Server = None,
    token_file: o.TokenFile = None,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Ask each worker of a workflow whether it lives, and show how long its answer took. Needs a manager that runs.

    Exit code 1 if a worker that runs did not answer.
    """
    from streamforge.cli.workflows import ping as work

    o.debugging(debug)
    where = Where(data=data, server=server, token_file=token_file, debug=debug)
    return o.run(work(queue_id, where, wait_s=wait, as_json=as_json))


def retry(
    queue_id: o.QueueId,
    detach: o.Detach = False,
    timeout: o.Timeout = None,
    data: o.Data = None,
    server: o.Server = None,
    token_file: o.TokenFile = None,
    exchange: o.ExchangeOfData = None,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Start an interrupted or failed workflow again on what it still lacks, and wait for its end as `load` does."""
    from streamforge.cli.loading import again as work

    o.debugging(debug)
    where = Where(data=data, server=server, token_file=token_file, exchange=exchange, debug=debug)
    return o.run(work(queue_id, "retry", where, detach=detach, timeout_s=timeout, as_json=as_json))


def rm(
    queue_id: o.QueueId,
    data_too: Annotated[
        bool, typer.Option("--data-too", help="Remove its records and their coverage as well.")
    ] = False,
    yes: o.Yes = False,
    data: o.Data = None,
    server: o.Server = None,
    token_file: o.TokenFile = None,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Forget an ended workflow; its records stay unless --data-too."""
    from streamforge.cli.workflows import remove as work

    o.debugging(debug)
    where = Where(data=data, server=server, token_file=token_file, debug=debug)
    return o.run(work(queue_id, where, data=data_too, yes=yes, as_json=as_json))


def dlq_list(
    queue_id: o.QueueId,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, max=1000, help="At most so many, the oldest.")
    ] = 100,
    data: o.Data = None,
    server: o.Server = None,
    token_file: o.TokenFile = None,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """List the records of a workflow that could not be stored, each with its reason."""
    from streamforge.cli.workflows import dead_letters as work

    o.debugging(debug)
    where = Where(data=data, server=server, token_file=token_file, debug=debug)
    return o.run(work(queue_id, where, limit=limit, as_json=as_json))


def dlq_replay(
    queue_id: o.QueueId,
    detach: o.Detach = False,
    timeout: o.Timeout = None,
    data: o.Data = None,
    server: o.Server = None,
    token_file: o.TokenFile = None,
    exchange: o.ExchangeOfData = None,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Let a worker read the dead letters of an ended workflow again, once their cause is gone."""
    from streamforge.cli.loading import again as work

    o.debugging(debug)
    where = Where(data=data, server=server, token_file=token_file, exchange=exchange, debug=debug)
    return o.run(work(queue_id, "dlq/replay", where, detach=detach, timeout_s=timeout, as_json=as_json))
