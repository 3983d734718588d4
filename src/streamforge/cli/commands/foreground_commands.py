"""The commands `up` and `exchange`, which run in the foreground until Ctrl-C."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import secrets
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from streamforge.cli import command_options as o
from streamforge.cli import terminal
from streamforge.cli.command_errors import UsageProblem
from streamforge.cli.interrupts import interrupts
from streamforge.cli.places import DATA_VARIABLE
from streamforge.cli.session import Where

if TYPE_CHECKING:
    from streamforge.cli.own_manager import OwnManager
    from streamforge.exchange.state import Load

_STORED = Path("stored")
"""As what is replayed, a database, unless there is such a folder."""
_FASTEST = 1e6
"""A clock that is faster soon passes the last year that has a date."""


async def up(
    where: o.AtNew,
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
        typer.Option(
            "--port",
            metavar="PORT",
            min=0,
            max=65535,
            help="Of the API; 0: any free one. Metrics have a port of their own: STREAMFORGE_METRICS_PORT, else 8000 "
            "or, where that is taken, any free one.",
            show_default="8080",
        ),
    ] = None,
    private: Annotated[
        bool,
        typer.Option(
            "--private",
            help="Make an operator's token for this run and print the UI's link with it, so that other users of this "
            "machine see and change nothing. Other commands take it from STREAMFORGE_TOKEN.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the line that says where it serves as JSON.")] = False,
) -> int:
    """Run the manager on the embedded default, with its web UI, until Ctrl-C.

    Other commands on the same data directory find it by themselves. Workflows that were under way go on.
    Tokens come from STREAMFORGE_TOKENS_FILE, STREAMFORGE_OPERATOR_TOKEN and STREAMFORGE_READER_TOKEN.
    """
    from streamforge.cli.own_manager import configure_logs, own_manager
    from streamforge.manager.api.tokens import Access, Tokens
    from streamforge.manager.manager_settings import load_manager
    from streamforge.manager.running_manager import until_stopped
    from streamforge_utils.runtime.telemetry.metrics import Metrics, MetricsServer

    where = where.of_its_data()
    folder, overrides = where.folder, where.environ()
    configure_logs(debug=where.debug, quiet=False, environ=overrides)
    if host is not None:
        overrides["STREAMFORGE_HOST"] = host
    if port is not None:
        overrides["STREAMFORGE_PORT"] = str(port)
    tokens = Tokens.read(os.environ)
    token = secrets.token_urlsafe(32) if private else None
    if token is not None:
        tokens = (tokens or Tokens(())).with_token(Access.OPERATOR, token)
    settings = load_manager({**overrides, DATA_VARIABLE: str(folder)})
    metrics = Metrics("queue-manager")
    with (
        interrupts() as asked,
        contextlib.closing(MetricsServer(metrics, settings.metrics_host, settings.metrics_port)) as scraped,
    ):
        async with own_manager(
            folder, exchange=where.exchange, overrides=overrides, tokens=tokens, observer=metrics, fires=True
        ) as manager:
            link = f"{manager.url}/ui" + (f"#token={token}" if token else "")
            _announce(manager, where, f"{settings.metrics_host}:{scraped.port}", link, as_json=as_json)
            await until_stopped(asked.happened, manager.ended)
            terminal.say("ending in order; workflows under way go on with the next manager on this data")
    return 0


def _announce(manager: OwnManager, where: Where, metrics: str, link: str, *, as_json: bool) -> None:
    exchange, metrics = list(manager.exchange), f"http://{metrics}/metrics"
    if as_json:
        told = {"url": manager.url, "ui": link, "data": str(where.folder), "exchange": exchange}
        terminal.write(msgspec.json.encode({**told, "metrics": metrics, "pid": os.getpid()}).decode())
        return
    shown = {
        "web UI": link,
        "manager": manager.url,
        "data": where.folder,
        "exchange": ", ".join(exchange),
        "metrics": metrics,
    }
    for name, value in shown.items():
        terminal.write(f"{name:<9} {value}")
    terminal.say(
        f"Ctrl-C ends it. In another terminal: streamforge load BTCUSDT api_candles_1m 2024-08-01{where.flags()}"
    )


def exchange(
    port: Annotated[int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="0: any free one.")] = 0,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="The same seed gives the same candles.")] = 1,
    replay: Annotated[
        Path | None,
        typer.Option(
            "--replay",
            metavar="DIR",
            help="Serve recorded files as if live, or the candles, trades and order books that a data directory has; "
            "`stored`: that the database of ARANGO_URL has.",
        ),
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
    symbols: Annotated[
        int, typer.Option("--symbols", metavar="N", min=0, max=20_000, help="This many more symbols, made up.")
    ] = 0,
    trades: Annotated[
        int | None,
        typer.Option(
            "--trades",
            metavar="N",
            min=16,
            max=20_000,
            help="Trades a minute of every symbol; 1667: 2.4 million a day.",
        ),
    ] = None,
    speed: Annotated[
        float,
        typer.Option(
            "--speed",
            metavar="X",
            min=0,
            help="Of its clock; 1440: a day in a minute, 0: frozen, inf: as fast as the clients of its streams read.",
        ),
    ] = 1.0,
    tls: Annotated[
        Path | None,
        typer.Option("--tls", metavar="DIR", help="Listen with TLS too; what to trust is written to DIR/ca.pem."),
    ] = None,
    no_limits: Annotated[
        bool, typer.Option("--no-limits", help="Never refuse for too many requests, connections or messages.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the line that says where it serves as JSON.")] = False,
) -> int:
    """Run the test exchange, which speaks as Binance does, until Ctrl-C. Use it with --exchange URL."""
    from streamforge.exchange.config import (
        CONNECT_LIMIT,
        MESSAGE_LIMIT,
        WEIGHT_LIMIT,
        ExchangeConfig,
        instant_ms,
        parse_hole,
    )
    from streamforge.exchange.exchange_server import run
    from streamforge.exchange.faults import FAULTS
    from streamforge_utils.model.timeranges import TimeRange

    faults = fault or []
    if "help" in faults:
        terminal.table(
            ["fault", "options", "what it does"],
            [
                [name, ",".join(f"{key}={value}" for key, value in kind.options.items()), kind.summary]
                for name, kind in FAULTS.items()
            ],
        )
        terminal.say(
            "every fault also knows p, count, after, path, symbol and seed, e.g. --fault 429:count=3,path=klines; "
            "those of the archive (path=archive, checksum or listing) also know day and file, e.g. "
            "archive-corrupt:day=2024-08-01; those of the streams also know stream, a pattern, e.g. "
            "stream-missing:stream=*@trade"
        )
        return 0
    spans: dict[str, tuple[TimeRange, ...]] = {}
    for symbol, span in map(parse_hole, hole or ()):
        spans[symbol] = (*spans.get(symbol, ()), span)
    config = ExchangeConfig(
        port=port,
        seed=seed,
        replay=replay,
        now_ms=None if now is None else instant_ms(now),
        holes=spans,
        faults=tuple(faults),
        symbols_extra=symbols,
        trades_a_minute=trades,
        speed=speed,
        tls=tls,
        weight_limit=None if no_limits else WEIGHT_LIMIT,
        connect_limit=None if no_limits else CONNECT_LIMIT,
        message_limit=None if no_limits else MESSAGE_LIMIT,
    )
    if replay is not None and (symbols or trades):
        raise UsageProblem("--symbols and --trades make data up, and --replay serves recorded ones: give one of them")
    if not (speed <= _FASTEST or math.isinf(speed)):
        raise UsageProblem(f"--speed must be between 0 and {_FASTEST:.0f}, or inf")
    if replay is not None and replay != _STORED and not replay.is_dir():
        raise UsageProblem(f"replay {replay} is no folder: name one that holds recordings")
    try:
        with contextlib.suppress(KeyboardInterrupt):
            return run(config, json_line=as_json, load=_load_of(replay))
    except OSError as error:
        # asyncio's own words repeat the address as Python writes it.
        known = {errno.EADDRINUSE: "it is in use", errno.EACCES: "this user may not"}
        reason = known.get(error.errno or 0) or (os.strerror(error.errno) if error.errno else str(error))
        raise UsageProblem(
            f"the test exchange cannot listen on port {port} ({reason}): choose another with --port "
            "(0 takes any free one)"
        ) from error
    return 0


def _load_of(replay: Path | None) -> Load:
    """What reads a replay: a data directory, a database, or recorded files."""
    from streamforge import wiring
    from streamforge.exchange.recordings import load_recordings
    from streamforge.exchange.stored_recordings import StoredPlace, load_stored
    from streamforge_utils.runtime.life.environment import load
    from streamforge_utils.runtime.life.object_settings import ObjectSettings
    from streamforge_utils.runtime.life.server_settings import ArangoSettings
    from streamforge_utils.runtime.life.settings import DataSettings

    if replay is not None and (replay / wiring.STORE).is_dir():
        data = DataSettings(data_dir=replay)
    elif replay == _STORED and not _STORED.is_dir():
        arango, folder = load(ArangoSettings, os.environ), os.environ.get(DATA_VARIABLE)
        if not arango.url:
            raise UsageProblem("--replay stored serves a database, and ARANGO_URL names none: set it, or name a folder")
        data = DataSettings(data_dir=Path(folder) if folder else None, arango=arango)
    else:
        return load_recordings
    objects = load(ObjectSettings, os.environ)
    place = StoredPlace(partial(wiring.make_store, data), partial(wiring.make_object_store, objects, data))
    return partial(load_stored, place)
