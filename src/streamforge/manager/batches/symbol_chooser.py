"""Chooses the symbols of a request for many, of those that the exchange lists and those that only its archive has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from fnmatch import fnmatchcase

import msgspec
import structlog

from streamforge.manager.batches.symbol_selection import Selection, is_pattern, select
from streamforge.manager.catalogue.archived_symbols import ARCHIVED
from streamforge.manager.dependencies import Dependencies
from streamforge.manager.workflows.series.model import SourceChoice
from streamforge_utils.model.errors import InvalidInput, StreamForgeError
from streamforge_utils.model.kinds.registry import is_live_type, kind_of_type
from streamforge_utils.model.series import check_symbol
from streamforge_utils.ports.exchange import SymbolInfo

LIST_WITHIN_S = 20.0
"""Some pages, one after the other."""
_log = structlog.get_logger(__name__)


class Chooser:
    """Chooses the symbols of requests. symbols: lists what the exchange has."""

    def __init__(self, deps: Dependencies, symbols: Callable[[], Awaitable[Sequence[SymbolInfo]]]) -> None:
        self._deps = deps
        self._symbols = symbols

    async def choose(
        self, asked: Sequence[str], type_name: str, source: SourceChoice, *, skip_unknown: bool = False
    ) -> Selection:
        """The symbols asked for, those that only the archive has included but where requests alone are wanted.

        A pattern of a live type fits what is traded: nothing happens to others. skip_unknown: as `select` takes it.
        Raises InvalidInput, or RetryableError: the exchange does not list its symbols now.
        """
        listed, where = await self._symbols(), self._deps.exchange_name
        known = {one.symbol for one in listed}
        archived, silence, live = set[str](), "", is_live_type(type_name)
        if not live and any(is_pattern(word) or check_symbol(word) not in known for word in asked):
            archived, silence = await self.archived(type_name)
        gone = [SymbolInfo(symbol=one, status=ARCHIVED) for one in sorted(archived - known)]
        if source is SourceChoice.REST:
            patterns = [word.upper() for word in asked if is_pattern(word)]
            fits = (one.symbol for one in gone if any(fnmatchcase(one.symbol.upper(), word) for word in patterns))
            left_out, gone = tuple(fits), []
        else:
            left_out = ()
        try:
            chosen = await asyncio.to_thread(
                select, asked, [*listed, *gone], where, skip_unknown=skip_unknown, traded=live
            )
        except InvalidInput as error:
            text = f"{error}; {silence}" if silence else str(error)
            raise InvalidInput(error.field, text, code=error.code) from error
        return msgspec.structs.replace(chosen, left_out=left_out, silence=silence)

    async def listed(self, type_name: str, source: SourceChoice, within_s: float) -> tuple[Sequence[SymbolInfo], str]:
        """What the exchange lists and, of a type with history, what only its archive has; or why that is not known.

        Where requests alone are wanted, the archive is not asked.

        Raises RetryableError, PermanentError or TimeoutError: the exchange does not list its symbols.
        """
        async with asyncio.timeout(within_s):
            listed = await self._symbols()
        if is_live_type(type_name) or source is SourceChoice.REST:
            return listed, ""
        archived, silence = await self.archived(type_name, within_s)
        gone = archived - {one.symbol for one in listed}
        return [*listed, *(SymbolInfo(symbol=one, status=ARCHIVED) for one in sorted(gone))], silence

    async def archived(self, type_name: str, within_s: float = LIST_WITHIN_S) -> tuple[set[str], str]:
        """The symbols that the archive has, or none and why it is not known soon."""
        archive, kind = self._deps.archive, kind_of_type(type_name)
        if archive is None or kind.archive is None:
            return set(), ""
        try:
            async with asyncio.timeout(within_s):
                return set(await archive.symbols(kind.name)), ""
        except (StreamForgeError, TimeoutError) as error:
            _log.warning("the archive does not list its symbols", error=str(error) or "no answer in time")
            why = str(error) or f"no answer within {within_s:g} s"
            return set(), f"which symbols only the archive has is not known: {why}"
