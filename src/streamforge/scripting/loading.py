"""Loading a time range from a notebook or a script: a bar moves, and the call returns when all of it is proven."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

import msgspec
import structlog

from streamforge.cli.command_errors import Interrupted
from streamforge.cli.coverage_text import left_out_span, load_of_the_rest, no_longer
from streamforge.cli.follower import Follower
from streamforge.cli.interrupts import Interrupts
from streamforge.cli.load_request import Request
from streamforge.cli.outcome import Ended, Loaded, unfinished
from streamforge.cli.progress import WorkflowDisplay
from streamforge.manager import answers
from streamforge.scripting.background import Background
from streamforge.scripting.notebook_bar import shown
from streamforge.scripting.series_places import SeriesPlace, check_texts, series_place
from streamforge_utils.model.errors import InvalidInput, StreamForgeError

Source = Literal["auto", "archive", "rest"]

_MOST_RESTS = 3
"""How often what a joined workflow left out may be left to another one that is joined, and leaves out a part again."""


class LoadFailed(StreamForgeError):
    """The range is not stored and proven; the message says why. outcome: what became of the workflow."""

    def __init__(self, message: str, outcome: Loaded) -> None:
        super().__init__(message)
        self.outcome = outcome


def load(
    symbol: str,
    type: str,
    time_range: str,
    *,
    data: str | Path | None = None,
    server: str | None = None,
    token: str | None = None,
    exchange: str | None = None,
    again: bool = False,
    source: Source = "auto",
    timeout_s: float | None = None,
    progress: bool = True,
) -> Loaded:
    """Load a time range, and return once it is stored and proven complete; `streamforge.read` then gives it.

        streamforge.load("BTCUSDT", "api_candles_1m", "2024-08")

    symbol, type, time_range: as `streamforge load` takes them, one symbol. Only what is not stored is loaded, unless
    `again`; a workflow under way that loads the same is joined.
    data: the folder to load into; workers run on this machine for the time it takes, or those of the manager that runs
    on the folder. server, token: a queue-manager instead, and an operator's token (else that of STREAMFORGE_TOKEN).
    Without either: the server that STREAMFORGE_URL names, else the folder that commands use.
    exchange: for a folder, `binance`, `test` or a URL; by default the one that its data came from, else Binance.
    source: `archive` takes the exchange's files of past days alone, `rest` its REST interface alone.
    timeout_s: after it the workflow is stopped in order, or left to the manager of others. progress: show a bar.

    Returns the outcome: `queue_id`, `records_stored`, `coverage`, `seconds`, … Raises LoadFailed with the reason where
    the workflow does not finish, InvalidInput for arguments that cannot be, and StreamForgeError (their base) where no
    manager answers. The first Ctrl-C, or an interrupt of the kernel, stops the workflow in order, the second at once.
    """
    check_texts(symbol, type, time_range)
    place = series_place(data, server, token, exchange)
    if timeout_s is not None and not timeout_s > 0:
        raise InvalidInput("timeout_s", f"timeout_s {timeout_s} is not a time: give seconds, or None for no limit")
    if source not in get_args(Source):
        raise InvalidInput("source", f"source {source!r} is not known: choose one of {', '.join(get_args(Source))}")
    forced = msgspec.UNSET if source == "auto" else source
    request = Request(symbol=symbol, type=type, time_range=time_range, again=again, source=forced)
    request.check()
    interrupts = list[Interrupts]()

    with shown(progress) as display, _logs_as_they_were():

        async def work(loading: Background[Ended]) -> Ended:
            interrupts.append(Interrupts(exits=False))
            return await _to_the_end(place, request, interrupts[0], _Relay(loading, display), timeout_s)

        return _outcome(_waited(Background(work, f"loading {symbol} {type}"), interrupts), place)


def _waited(loading: Background[Ended], interrupts: list[Interrupts]) -> Ended:
    """The end of a load: the first interrupt stops it in order, the second leaves it, a third at once."""
    asked = 0
    while True:
        try:
            return loading.wait()
        except KeyboardInterrupt:
            asked += 1
            if asked > 2 or not interrupts:
                loading.cancel()
                raise
            loading.call(interrupts[0].add)
        except Interrupted as error:  # what is left behind goes on with the next manager
            raise KeyboardInterrupt(str(error)) from None


def _outcome(ended: Ended, place: SeriesPlace) -> Loaded:
    """What a load came to. Raises LoadFailed, or KeyboardInterrupt where that stopped it."""
    workflow, loaded = ended.workflow, ended.loaded
    if workflow.status != "finished":
        reason = str(unfinished(ended, place))
        if ended.interrupted is not None:
            raise KeyboardInterrupt(reason)
        raise LoadFailed(reason, loaded)
    if ended.gone:
        raise LoadFailed(f"{workflow.queue_id}: {no_longer(workflow, place)}", loaded)
    if (rest := load_of_the_rest(workflow, place, again=ended.again)) is not None:
        without = f"{workflow.queue_id} has finished, without {left_out_span(workflow)}: {rest} loads that"
        raise LoadFailed(without, loaded)
    return loaded


async def _to_the_end(
    place: SeriesPlace, request: Request, interrupts: Interrupts, display: WorkflowDisplay, timeout_s: float | None
) -> Ended:
    """Follow the workflow to its end; what it leaves out, as it was joined, is loaded by another one."""
    began = time.monotonic()

    async def followed(asked: Request) -> Ended:
        left_s = None if timeout_s is None else timeout_s - (time.monotonic() - began)
        follower = Follower(interrupts, display, timeout_s=left_s, again=request.again)
        return await follower.begin(place, asked.start)

    ended = await followed(request)
    for _ in range(_MOST_RESTS):
        one = ended.workflow
        if ended.rest is None or (timeout_s is not None and time.monotonic() - began >= timeout_s):
            break
        display.note(f"{one.queue_id} has finished; what it left out, {left_out_span(one)}, is loaded now")
        rest = msgspec.structs.replace(request, symbol=one.symbol, type=one.type, time_range=ended.rest)
        ended = await followed(rest)
    seconds = round(time.monotonic() - began, 3)
    return msgspec.structs.replace(ended, loaded=msgspec.structs.replace(ended.loaded, seconds=seconds))


class _Relay:
    """A display that another thread draws: where the notebook's cell is known, and the terminal is its own."""

    def __init__(self, loading: Background[Ended], display: WorkflowDisplay) -> None:
        self._loading, self._display = loading, display

    def show(self, workflow: answers.Started) -> None:
        self._loading.tell(lambda: self._display.show(workflow))

    def note(self, text: str) -> None:
        self._loading.tell(lambda: self._display.note(text))


@contextmanager
def _logs_as_they_were() -> Iterator[None]:
    """What a manager sets for the logs of its process is undone: here it is a guest."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    configured, before = structlog.is_configured(), structlog.get_config()
    try:
        yield
    finally:
        root.handlers[:], root.level = handlers, level
        if configured:
            structlog.configure(**before)
        else:
            structlog.reset_defaults()
