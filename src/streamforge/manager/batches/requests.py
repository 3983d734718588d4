"""A request for many symbols: everything that can be refused before the exchange is asked is refused here."""

from __future__ import annotations

import re

import msgspec

from streamforge.manager.admission import NO_ARCHIVE
from streamforge.manager.batches.symbol_selection import check_words, is_pattern
from streamforge.manager.use_cases import StartRequest
from streamforge.manager.workflows.series.model import SourceChoice
from streamforge.manager.workflows.series.requests import Checked, check
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.timeranges import parse_time_range

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


class BatchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Many symbols asked for: names, and patterns such as `*USDT`.

    time_range, since, default_start, again, source: as in `StartRequest`. listed_at: a day; symbols that did not exist
    then are left out. skip_unknown: so are those that nobody has. labels: of each of its workflows.
    """

    symbols: tuple[str, ...]
    type: str
    time_range: str = ""
    since: str | None = None
    default_start: str | None = None
    listed_at: str | None = None
    again: bool = False
    skip_unknown: bool = False
    source: SourceChoice = SourceChoice.AUTO
    labels: dict[str, str] = {}

    def of(self, symbol: str) -> StartRequest:
        """The request for one of its symbols."""
        return StartRequest(
            symbol=symbol,
            type=self.type,
            time_range=self.time_range,
            since=self.since,
            default_start=self.default_start,
            again=self.again,
            source=self.source,
            labels=self.labels,
        )


def check_batch(request: BatchRequest, now_ms: int, *, archive: bool) -> tuple[Checked, int | None]:
    """What each symbol is asked for, in its one spelling, and the day of `listed_at`. archive: whether there is one.

    Raises InvalidInput naming the field.
    """
    check_words(request.symbols)
    checked = check(request.of(next((word for word in request.symbols if not is_pattern(word)), "X")), now_ms)
    if request.source is SourceChoice.ARCHIVE and not archive:
        raise InvalidInput("source", NO_ARCHIVE)
    return checked, None if request.listed_at is None else _day(request.listed_at, now_ms)


def _day(text: str, now_ms: int) -> int:
    """The beginning of a day. Raises InvalidInput."""
    if _DAY.fullmatch(text) is None:
        raise InvalidInput("listed_at", f"listed_at {text[:80]!r} is no day: write it as 2021-01-01")
    try:
        day_ms = parse_time_range(text).start_ms
    except InvalidInput as error:
        raise InvalidInput("listed_at", f"listed_at {text!r} is no day of the calendar") from error
    if day_ms > now_ms:
        raise InvalidInput("listed_at", f"listed_at {text} is in the future")
    return day_ms
