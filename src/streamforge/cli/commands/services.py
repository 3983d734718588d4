"""up, doctor, exchange, targets and schemas."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamforge.cli import options as o
from streamforge.cli.session import Where


def up(
    host: Annotated[
        str | None,
        typer.Option(
            "--host",
            metavar="ADDRESS",
            help="Address to listen on; beyond loopback it needs tokens.",
            show_default="127.0.0.1",
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="PORT", min=0, max=65535, help="0: any free one.", show_default="8080"),
    ] = None,
    data: o.Data = None,
    exchange: o.Exchange = None,
    launcher: o.Launcher = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the line that says where it serves as JSON.")] = False,
    debug: o.Debug = False,
) -> int:
    """Run the manager on the embedded default, until Ctrl-C.

    Other commands on the same data directory find it by themselves. Workflows that were under way go on.
    Tokens come from STREAMFORGE_TOKENS_FILE, STREAMFORGE_OPERATOR_TOKEN and STREAMFORGE_READER_TOKEN.
    """
    from streamforge.cli.serving import up as work

    o.debugging(debug)
    return o.run(
        work(Where(data=data, exchange=exchange, launcher=launcher, debug=debug), host=host, port=port, as_json=as_json)
    )


def doctor(
    data: o.Data = None,
    server: o.Server = None,
    token_file: o.TokenFile = None,
    exchange: o.ExchangeOfData = None,
    launcher: o.Launcher = None,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """Check what StreamForge stands on: disk, data, bus, store, launcher and exchange. Exit code 1 if one fails.

    It changes nothing: what it tries, it tries in a folder that it removes again.
    """
    from streamforge.cli.doctor import doctor as work

    o.debugging(debug)
    where = Where(data=data, server=server, token_file=token_file, exchange=exchange, launcher=launcher, debug=debug)
    return o.run(work(where, as_json=as_json))


def exchange(
    port: Annotated[int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="0: any free one.")] = 0,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="The same seed gives the same candles.")] = 1,
    replay: Annotated[
        Path | None, typer.Option("--replay", metavar="DIR", help="Serve recorded files as if live.")
    ] = None,
    now: Annotated[
        str | None, typer.Option("--now", metavar="INSTANT", help="Where its clock starts, ISO 8601, UTC.")
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            "--fault", metavar="NAME[:key=value,…]", help="Do something wrong (repeatable); `help` lists them."
        ),
    ] = None,
    hole: Annotated[
        list[str] | None,
        typer.Option(
            "--hole", metavar="SYMBOL@START:END", help="A time without candles (repeatable); * for every symbol."
        ),
    ] = None,
    no_limits: Annotated[bool, typer.Option("--no-limits", help="Never refuse for too many requests.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the line that says where it serves as JSON.")] = False,
    debug: o.Debug = False,
) -> int:
    """Run the test exchange, which speaks as Binance does, until Ctrl-C. Use it with --exchange URL."""
    from streamforge.cli.serving import test_exchange as work

    o.debugging(debug)
    return work(
        port=port,
        seed=seed,
        replay=replay,
        now=now,
        faults=fault or [],
        holes=hole or [],
        limits=not no_limits,
        as_json=as_json,
    )


def targets(
    data: o.Data = None,
    server: o.Server = None,
    token_file: o.TokenFile = None,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """List the kinds of workers and their parameters."""
    from streamforge.cli.catalogue import targets as work

    o.debugging(debug)
    return o.run(work(Where(data=data, server=server, token_file=token_file, debug=debug), as_json=as_json))


def schemas(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Print the JSON Schema of this message.")] = None,
    data: o.Data = None,
    server: o.Server = None,
    token_file: o.TokenFile = None,
    as_json: o.Json = False,
    debug: o.Debug = False,
) -> int:
    """List the messages that travel on the topics, or print the JSON Schema of one."""
    from streamforge.cli.catalogue import schemas as work

    o.debugging(debug)
    return o.run(work(name, Where(data=data, server=server, token_file=token_file, debug=debug), as_json=as_json))
