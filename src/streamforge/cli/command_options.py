"""The options that commands share, each written once, and how a function becomes a command."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Coroutine
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer

from streamforge.cli import terminal
from streamforge.cli.command_errors import CliError, PipeClosed, UsageProblem
from streamforge.cli.session import Where

T = TypeVar("T")

Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Where the embedded default keeps its files (or STREAMFORGE_DATA_DIR). "
        "Default: ~/.local/share/streamforge, on macOS ~/Library/Application Support/streamforge.",
        rich_help_panel="Where",
    ),
]
Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        help="A manager to speak to. Its token, if it needs one, comes from STREAMFORGE_TOKEN.",
        rich_help_panel="Where",
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", metavar="FILE", help="Read the token from a file instead.", rich_help_panel="Where"),
]
Exchange = Annotated[
    str | None,
    typer.Option(
        "--exchange",
        metavar="binance|test|URL",
        help="Where market data comes from. test: a test exchange on this machine, for as long as the command runs.",
        show_default="STREAMFORGE_EXCHANGE_URL, else the one that the data came from, else binance",
        rich_help_panel="Where",
    ),
]
ExchangeOfData = Annotated[
    str | None,
    typer.Option(
        "--exchange",
        metavar="binance|test|URL",
        help="Where market data comes from, as for `load`.",
        show_default="STREAMFORGE_EXCHANGE_URL, else the one that the data came from, else binance",
        rich_help_panel="Where",
    ),
]
Launcher = Annotated[
    Literal["process", "kubernetes"] | None,
    typer.Option(
        "--launcher",
        metavar="process|kubernetes",
        help="What runs the workers: processes of this machine, or Jobs of a Kubernetes cluster (or "
        "STREAMFORGE_LAUNCHER; the cluster is that of KUBECONFIG and K8S_NAMESPACE).",
        show_default="process",
        rich_help_panel="Where",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the manager's log, and tracebacks of errors.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Detach = Annotated[bool, typer.Option("--detach", help="Do not wait for the end; needs a manager that runs.")]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", min=0.1, help="Stop the workflow in order if it takes longer."),
]
SourceOf = Annotated[
    Literal["auto", "archive", "rest"] | None,
    typer.Option(
        "--source",
        metavar="auto|archive|rest",
        help="Where the records come from. archive: from the exchange's files of past days and months alone. rest: by "
        "requests alone. auto: each part from the source that suits it best, and from another one where that fails.",
        show_default="auto",
    ),
]
WholeLife = Annotated[
    bool,
    typer.Option("--all", help="Without TIME_RANGE: the whole life of the series, not only what was asked for so far."),
]
QueueId = Annotated[str, typer.Argument(metavar="QUEUE_ID", help="As `load` and `queues` name it.")]

_MANAGER = {"data": Data, "server": Server, "token_file": TokenFile}
AtManager = Annotated[Where, _MANAGER]
"""A parameter of this type, `where`, gives a command the options --data, --server and --token-file."""
AtManagerAndExchange = Annotated[Where, _MANAGER | {"exchange": ExchangeOfData}]
"""The same, and --exchange."""
AtManagerAndWorkers = Annotated[Where, _MANAGER | {"exchange": ExchangeOfData, "launcher": Launcher}]
"""The same, and --launcher."""
AtManagerOrNew = Annotated[Where, _MANAGER | {"exchange": Exchange, "launcher": Launcher}]
"""All of these options, where the command may be the first one on its data directory."""
LabelsOf = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="KEY:VALUE", help="To find the workflow by, `team:research` (repeatable)."),
]
AtNew = Annotated[Where, {"data": Data, "exchange": Exchange, "launcher": Launcher}]
"""--data, --exchange and --launcher, of a command that is the manager itself."""
AtData = Annotated[Where, {"data": Data}]
"""--data alone."""


def confirm(question: str, asks: str, refused: str) -> None:
    """Ask on the terminal. asks: which command asks, and when; refused: what a no means.

    Raises CliError for a no, UsageProblem where nobody can answer.
    """
    if not sys.stdin.isatty():
        raise UsageProblem(f"{asks}, and there is no terminal to answer: add --yes")
    if not typer.confirm(question, err=True):
        raise CliError(refused)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine."""
    try:
        return asyncio.run(work, debug=False)
    except BrokenPipeError:
        raise PipeClosed from None  # as it is, it would be taken for a failure on its way


def as_command(work: Callable[..., Any]) -> Callable[..., int]:
    """`work` as typer takes it: with the options of its `where` one by one, and with --debug.

    work: returns an exit code, or a coroutine of one. Its docstring is the help.
    """
    own = {
        name: one.replace(kind=Parameter.KEYWORD_ONLY)
        for name, one in inspect.signature(work, eval_str=True).parameters.items()
    }
    places: dict[str, Any] = own.pop("where").annotation.__metadata__[0] if "where" in own else {}
    last = {name: own.pop(name) for name in ("as_json",) if name in own}
    shared = {
        name: Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=option)
        for name, option in places.items()
    }
    debug = Parameter("debug", Parameter.KEYWORD_ONLY, default=False, annotation=Debug)

    def command(*, debug: bool, **given: Any) -> int:
        terminal.debugging(debug)
        if places:
            given["where"] = Where(**{name: given.pop(name) for name in places}, debug=debug)
        done = work(**given)
        code: int = run(done) if inspect.iscoroutine(done) else done
        return code

    command.__name__, command.__doc__, command.__annotations__ = work.__name__, work.__doc__, {}
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [*own.values(), *shared.values(), *last.values(), debug]
    )
    return command
