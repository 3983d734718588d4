"""The options that many commands share, and how a command runs."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer

from streamforge.cli.errors import PipeClosed

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
        show_default="STREAMFORGE_EXCHANGE_URL, else binance",
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
QueueId = Annotated[str, typer.Argument(metavar="QUEUE_ID", help="As `load` and `queues` name it.")]

_debugging = False


def debugging(value: bool | None = None) -> bool:
    """Whether tracebacks are shown; `value` sets it."""
    global _debugging
    if value is not None:
        _debugging = value
    return _debugging


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine."""
    try:
        return asyncio.run(work, debug=False)
    except BrokenPipeError:
        raise PipeClosed from None  # as it is, it would be taken for a failure on its way
