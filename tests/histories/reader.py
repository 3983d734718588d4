"""Those who read: what `show`, `coverage` and `read_series` say, over the HTTP API and without a socket."""

from __future__ import annotations

import csv
import io
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.message import Message
from functools import cache, partial
from pathlib import Path
from typing import Any, Self, cast
from unittest.mock import patch

import httpx
import msgspec
from fastapi import FastAPI

from streamforge.cli import exporting, output, session
from streamforge.cli.client import Api, Query
from streamforge.cli.errors import CliError
from streamforge.manager.api.app import create_app
from streamforge.manager.managing import Manager
from streamforge.manager.service import Service
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from streamforge_utils.reading import ReadingError, Series, StoredCandle, read_series
from tests.doubles.candles import candle
from tests.doubles.virtualloop import VirtualLoop
from tests.histories.history import Market
from tests.histories.model import Model

URL = "http://127.0.0.1:8080"


class _Latest:
    """The service of whichever manager is asked: an application takes longer to build than a history to happen."""

    manager: Manager

    def __getattr__(self, name: str) -> Any:
        return getattr(self.manager, name)


_latest = _Latest()


@cache
def _app() -> FastAPI:
    return create_app(cast("Service", _latest))


class Reader:
    """Asks a manager's API while nothing else goes on. folder: where it exports to."""

    def __init__(self, loop: VirtualLoop, manager: Manager, folder: Path) -> None:
        self._loop = loop
        self._folder = folder
        _latest.manager = manager

    def show(self, model: Model, queue_id: str) -> None:
        """What `show` says of a workflow equals what is known of it."""
        answer = self._get(f"/queues/{queue_id}")
        said = msgspec.json.decode(answer.content)
        status = model.asked[queue_id].status.value
        if answer.status_code != 200 or said["status"] != status:
            model.untrue("show says otherwise", f"{queue_id}: {answer.status_code} {said.get('status')}, not {status}")

    def read(self, model: Model, market: Market, span: TimeRange) -> None:
        """What `read_series` gives is what is there, each once, or it fails by name."""
        try:
            series = self._series(market, span)
        except ReadingError as error:
            unknown = "nothing is known of" in str(error) and not model.stored(market, span)
            if not unknown and not model.lacks(market, span) and not model.moves(market):
                model.untrue("reading fails without a reason", str(error))
            return
        if model.moves(market):
            return
        bars = [market.bar_at(one.open_time) for one in series.candles]
        self._are_there(model, market, span, bars)
        for bar, one in zip(bars, series.candles, strict=True):
            self._compare(model, market, bar, one)
        holes = [parse_time_range(f"{hole.start}:{hole.end}") for hole in series.holes]
        for bar in set(market.bars_in(span)) - set(bars):
            if not any(market.opens_ms(bar) in hole for hole in holes):
                model.untrue("a read is short and does not say so", f"{market.symbol} {span}: bar {bar}")

    def export(self, model: Model, market: Market, span: TimeRange, form: str) -> None:
        """What `export` writes is what is there, each once, or it fails by name."""
        file = self._folder / f"export.{form}"
        what = (market.symbol, market.type, str(span))
        try:
            with (
                patch.object(output, "say", lambda text: None),
                patch.object(session, "Api", partial(_InProcessApi, _get)),
            ):
                self._loop.run_until_complete(
                    exporting.export(
                        what, session.Where(server=URL), form=form, file=file, times=None, life=False, as_json=False
                    )
                )
        except CliError as error:
            nothing = not model.stored(market, span)
            if not nothing and not model.lacks(market, span) and not model.moves(market):
                model.untrue("an export fails without a reason", str(error))
            return
        if model.moves(market):
            return
        bars = [market.bar_at(time_ms) for time_ms in _open_times(file, form)]
        self._are_there(model, market, span, bars)
        if model.lacks(market, span) and model.is_called_stored(market, span):
            model.untrue("an export is short and does not fail", f"{market.symbol} {span} as {form}")

    def _are_there(self, model: Model, market: Market, span: TimeRange, bars: list[int]) -> None:
        there = model.stored(market, span)
        if bars != there:
            model.untrue("a read gives something else than there is", f"{market.symbol} {span}: {bars}, not {there}")

    def _compare(self, model: Model, market: Market, bar: int, read: StoredCandle) -> None:
        true = candle(market.opens_ms(bar), symbol=market.symbol)
        if (read.symbol, read.open, read.volume) != (market.symbol, float(true.open), float(true.volume)):
            model.untrue("a record has other values", f"{market.symbol} bar {bar}: {read}")

    def _series(self, market: Market, span: TimeRange) -> Series:
        with patch.object(urllib.request, "urlopen", self._open):
            return read_series(market.symbol, market.type, str(span), url=URL)

    def _open(self, request: urllib.request.Request, *, timeout: float) -> Any:
        answer = self._get(request.full_url.removeprefix(URL))
        body = io.BytesIO(answer.content)
        if answer.status_code >= 400:
            raise urllib.error.HTTPError(request.full_url, answer.status_code, answer.reason_phrase, Message(), body)
        return body

    def _get(self, path: str) -> httpx.Response:
        return self._loop.run_until_complete(_get("GET", path))


async def _get(
    method: str, path: str, query: Query | None = None, headers: Mapping[str, str] | None = None
) -> httpx.Response:
    transport = httpx.ASGITransport(_app())
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        return await client.request(method, path, params=query and dict(query), headers=headers)


class _InProcessApi(Api):
    """The command line's client, without a socket."""

    def __init__(self, get: Any, url: str, token: str | None = None) -> None:
        super().__init__(url, token)
        self._get = get

    async def __aenter__(self) -> Self:
        return self

    @asynccontextmanager
    async def _request(self, method: str, path: str, **kwargs: Any) -> AsyncIterator[Any]:
        answer = await self._get(method, path, kwargs.get("query"), kwargs.get("headers"))
        yield _Answer(answer.status_code, answer.headers, answer.content)


class _Answer:
    """An answer as aiohttp gives it."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self._body = status, headers, body
        self.content = self

    async def read(self) -> bytes:
        return self._body

    async def iter_any(self) -> AsyncIterator[bytes]:
        yield self._body


def _open_times(file: Path, form: str) -> list[int]:
    if form == "jsonl":
        return [msgspec.json.decode(line)["open_time"] for line in file.read_bytes().splitlines()]
    with file.open(newline="") as text:
        return [int(row["open_time"]) for row in csv.DictReader(text)]
