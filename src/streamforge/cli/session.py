"""Connects a command to a manager: to the one that was named, the one that runs on the data, or one of its own."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec

from streamforge.cli import terminal
from streamforge.cli.client import Api
from streamforge.cli.command_errors import ApiProblem, CliError, UsageProblem
from streamforge.cli.places import (
    EXCHANGE_VARIABLE,
    data_directory,
    exchange_urls,
    keeps_store,
    last_choice,
)
from streamforge.cli.temporary_folder import temporary_folder
from streamforge.manager.origin import BINANCE, TEST, Source, called, is_asked_for, shown_choice
from streamforge_utils.model.errors import ConfigError

LAUNCHER_VARIABLE = "STREAMFORGE_LAUNCHER"
TOKEN_VARIABLE = "STREAMFORGE_TOKEN"  # noqa: S105 - the name of a variable
HELD_S = 15.0
"""How long a folder may be held by a manager that does not serve yet, or no longer."""
_PAUSE_S = 0.1


class Mode(Enum):
    """What a command needs.

    READ: answers. ASK: answers of the exchange. CHANGE: to be the only manager. SCHEDULE: both. DRIVE: workflows
    that go on. CONTINUE: the same, of what is there already. SERVER: a manager that runs already.
    """

    READ = "read"
    ASK = "ask"
    CHANGE = "change"
    SCHEDULE = "schedule"
    DRIVE = "drive"
    CONTINUE = "continue"
    SERVER = "server"

    @property
    def drives(self) -> bool:
        """Whether workflows go on."""
        return self in (Mode.DRIVE, Mode.CONTINUE)

    @property
    def asks(self) -> bool:
        """Whether the exchange is asked."""
        return self.drives or self in (Mode.ASK, Mode.SCHEDULE)


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """What the common options say. continues: `exchange` was not given, it is the one of the folder's last manager."""

    data: Path | None = None
    server: str | None = None
    token_file: Path | None = None
    exchange: str | None = None
    launcher: str | None = None
    debug: bool = False
    continues: bool = False

    @property
    def folder(self) -> Path:
        """The data directory."""
        return data_directory(self.data)

    def environ(self) -> dict[str, str]:
        """The environment's variables, with the launcher of the option in the place of its own."""
        return {**os.environ, **({} if self.launcher is None else {LAUNCHER_VARIABLE: self.launcher})}

    def exchange_asked(self) -> tuple[str, str] | None:
        """What asks for an exchange (the option or the variable), and for which; None: nothing does."""
        if self.exchange is not None:
            return None if self.continues else ("--exchange", self.exchange)
        named = os.environ.get(EXCHANGE_VARIABLE)
        return (EXCHANGE_VARIABLE, named) if named else None

    def as_before(self) -> Where:
        """The same, with the exchange of the last manager on the folder where none is named.

        For what continues a workflow: it has its exchange already.
        """
        if self.server is not None or self.exchange is not None or os.environ.get(EXCHANGE_VARIABLE):
            return self
        return msgspec.structs.replace(self, exchange=last_choice(self.folder), continues=True)

    def of_its_data(self) -> Where:
        """As `as_before`, for a manager that is about to run; says which exchange that is, where nobody named it."""
        found = self.as_before()
        if found.exchange is not None and self.exchange is None:
            terminal.say(f"{self.folder} holds data of {_named(found.exchange)}: it is loaded from there")
        return found

    def starting(self) -> str:
        """As `flags`, for the advice to start a manager or a load there."""
        return self.as_before().flags(exchange=True)

    def flags(self, *, exchange: bool = False) -> str:
        """What a command that is advised needs to mean the same place; begins with a space, or is empty."""
        given = [("--data", self.data), ("--server", self.server), ("--token-file", self.token_file)]
        if exchange:
            given += [("--exchange", self.exchange), ("--launcher", self.launcher)]
        return "".join(f" {name} {shlex.quote(str(value))}" for name, value in given if value is not None)

    def token(self) -> str | None:
        """The token for the server, from its file or the environment; never from the command line, which `ps` shows."""
        if self.token_file is None:
            return os.environ.get(TOKEN_VARIABLE) or None
        try:
            token = self.token_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise UsageProblem(f"token file {self.token_file} cannot be read: {reason}") from error
        if not token or not token.isprintable() or " " in token:
            raise UsageProblem(f"token file {self.token_file} must hold one token and nothing else")
        return token

    def check(self) -> None:
        """Raises UsageProblem for options that contradict each other."""
        if self.token_file is not None and self.server is None:
            raise UsageProblem("--token-file is for --server: a manager of this machine asks for no token")
        if self.server is None:
            return
        if self.data is not None:
            raise UsageProblem("--server and --data name two places: give one of them")
        for name, value in (("exchange", self.exchange), ("launcher", self.launcher)):
            if value is not None:
                raise UsageProblem(
                    f"--{name} is for a manager of this command's own; the one at --server has its {name}"
                )


def _named(choice: str) -> str:
    return called(TEST) if choice == TEST else f"the exchange at {shown_choice(choice)}"


class Session(msgspec.Struct, frozen=True):
    """A manager to speak to. ended: of an own one, completes when it has failed."""

    api: Api
    own: bool
    ended: asyncio.Future[None] | None = None

    @property
    def server(self) -> str | None:
        """The address of the manager; None: it is the command's own."""
        return None if self.own else self.api.url


class NothingThere(CliError):
    """The data directory does not exist."""


@asynccontextmanager
async def session(where: Where, mode: Mode, *, loads: bool = False) -> AsyncIterator[Session]:
    """A manager to speak to until the end of the block.

    loads: the exchange will be asked, so the manager's must be the one that was asked for.
    Raises NothingThere (no data directory and no store elsewhere; not in DRIVE and ASK), CliError, ConfigError or
    RetryableError.
    """
    where.check()
    if where.server is not None:
        async with _served(where, where.server, loads=loads) as served:
            yield served
        return
    folder = where.folder
    held = data_folder(folder)
    began = asyncio.get_running_loop().time()
    deadline, told = began + HELD_S, False
    while True:
        url = held.server()
        if url is not None:
            if where.launcher is not None:
                raise UsageProblem(
                    f"the manager at {url} already runs on {folder} and has its launcher: leave --launcher out, or "
                    "choose another folder with --data"
                )
            async with _served(where, url, loads=loads, folder=folder, process=held.process()) as served:
                yield served
            return
        if mode is Mode.SERVER:
            raise CliError(
                f"no manager runs on {folder}: start one with `streamforge up{where.starting()}`, or name one with "
                "--server"
            )
        if mode is not Mode.DRIVE and not held.used():
            if not mode.drives and (mode is Mode.ASK or not keeps_store(os.environ)):
                # No data are needed, or they lie elsewhere: what the embedded parts need is made for the time it takes.
                with temporary_folder() as made:
                    async with _own(where, made, mode) as found:
                        yield found
                return
            if keeps_store(os.environ):
                raise NothingThere(
                    f"nothing was loaded into {folder} yet: begin with `streamforge load BTCUSDT api_candles_1m "
                    f"2024-08-01{where.flags()}`, or name another folder with --data"
                )
        entered = False
        try:
            async with _own(where, folder, mode) as found:
                entered = True
                yield found
            return
        except ConfigError:
            # A manager that is about to serve, or to end, holds the folder without an address: wait for either.
            now = asyncio.get_running_loop().time()
            if entered or not held.held():
                raise
            if not told and now - began >= terminal.LATE_S:
                told = True
                terminal.say(
                    f"waiting up to {HELD_S:.0f} s for the manager that holds {folder} and does not answer yet"
                )
            if now > deadline:
                raise
        await asyncio.sleep(_PAUSE_S)


@asynccontextmanager
async def _served(
    where: Where, url: str, *, loads: bool, folder: Path | None = None, process: int | None = None
) -> AsyncIterator[Session]:
    """The manager at `url`, which runs on `folder`, or was named with --server."""
    async with Api(url, where.token(), process=process) as api:
        if loads:
            await _check_exchange(where, api, folder)
        yield Session(api, own=False)


@asynccontextmanager
async def _own(where: Where, folder: Path, mode: Mode) -> AsyncIterator[Session]:
    from streamforge.cli.own_manager import configure_logs, own_manager

    configure_logs(debug=where.debug, quiet=True, environ=where.environ())
    if mode.asks:
        where = where.of_its_data()
    async with (
        own_manager(
            folder,
            exchange=where.exchange if mode.asks else BINANCE,
            asks=mode.asks,
            lock=mode not in (Mode.READ, Mode.ASK),
            drives=mode.drives,
            overrides={**where.environ(), "STREAMFORGE_HOST": "127.0.0.1", "STREAMFORGE_PORT": "0"},
        ) as manager,
        Api(manager.url) as api,
    ):
        yield Session(api, own=True, ended=manager.ended)


def data_folder(folder: Path) -> Any:
    """The data directory `folder`, as `wiring.make_data_directory` gives it: who holds it, and where that serves."""
    from streamforge import wiring
    from streamforge_utils.runtime.life.settings import DataSettings

    return wiring.make_data_directory(DataSettings(data_dir=folder))


async def _check_exchange(where: Where, api: Api, folder: Path | None) -> None:
    """Raises UsageProblem where the manager at `api` loads from another exchange than the one that was asked for.

    folder: it runs on this one; None: it was named with --server.
    """
    asked = where.exchange_asked()
    if asked is None:
        return
    option, value = asked[0], shown_choice(asked[1])
    urls = exchange_urls(where.exchange) if where.exchange != TEST else None
    try:
        source = await api.get("/exchange", Source)
    except ApiProblem as error:
        if error.kind != "not-found":
            raise
        loads = "is too old to say which exchange it loads from"
    else:
        if is_asked_for(source, where.exchange, urls):
            return
        at = "the test exchange of its own command" if source.built_in else ", ".join(source.urls)
        loads = f"loads from {at}"
    leave = f"unset {option}" if option == EXCHANGE_VARIABLE else f"leave {option} out"
    if folder is None:
        raise UsageProblem(
            f"the manager at {api.url} {loads}, and {option} asks for {value}: {leave}, or name a manager that loads "
            "from there with --server"
        )
    raise UsageProblem(
        f"the manager at {api.url}, which already runs on {folder}, {loads}, and {option} asks for {value}: {leave}, "
        "or choose another folder with --data"
    )
