"""Compares some records of a file whose checksum is right with those of the exchange."""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Collection
from typing import IO

from streamforge_utils.adapters.binance.archive_reader import archive_files, difference, part
from streamforge_utils.adapters.binance.zip_member import ZipMember
from streamforge_utils.model.completeness.grid import Grid
from streamforge_utils.model.completeness.rule import Pages
from streamforge_utils.model.errors import StreamForgeError
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.kinds.paging import ById, ByTime, MalformedPage, Page, Question
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange
from streamforge_utils.ports.archive import FileDiffers, FileRefused, Place

ANSWER_WITHIN_S = 60.0
"""How long the exchange may take to answer; where it does not, nothing more is compared."""

_KEPT = 4
"""Answers that are kept: that where two files meet is for both."""


def read_samples(
    file: IO[bytes], name: str, kind: RecordKind, series: Series, places: Collection[Place], seed: int, block: int
) -> dict[Place, Page]:
    """Records of the zip `file`, at most half an answer at its ends and an answer inside, where `seed` says.

    Only blocks with such records are made into records. Raises FileRefused.
    """
    member, most = ZipMember(file, name, archive_files(kind).check_header), most_of(kind)
    drawn = seed % max(1, member.size // block)
    taken: dict[Place, bytes] = {}
    before = rows = b""
    for number, following in enumerate(member.blocks(block)):
        before, rows = rows, following
        if number == 0:
            taken[Place.FIRST] = rows
        if number <= drawn:
            taken[Place.INSIDE] = rows
    if rows:
        taken[Place.LAST] = before + rows  # the last block may be short
    found: dict[Place, Page] = {}
    for place, rows in taken.items():  # from its beginning to its end: the next file begins with the same question
        if place not in places:
            continue
        try:
            page = archive_files(kind).read(rows, series, 0)
        except MalformedPage as error:
            raise FileRefused(str(error)) from error
        wanted = most if place is Place.INSIDE else most // 2
        room = max(0, len(page) - wanted)
        start = {Place.FIRST: 0, Place.INSIDE: seed % (room + 1), Place.LAST: room}[place]
        found[place] = part(page, start, start + wanted)
    return found


def most_of(kind: RecordKind) -> int:
    """Records of one answer, at most."""
    return 0 if kind.paging is None else kind.paging.most


class Sampler:
    """Compares samples with the exchange. history: None: there is none."""

    def __init__(self, history: Pages | None) -> None:
        self._history = history
        self._answers: dict[Question, Page] = {}
        self._asking = asyncio.Lock()
        self._silent = ""

    async def compare(self, kind: RecordKind, series: Series, span: TimeRange, place: Place, sample: Page) -> str:
        """Why a sample of a file of `span` could not be compared; empty: it is equal. Raises FileDiffers."""
        question = _question(kind, series, span, place, sample)
        differs = ""
        for again in (False, True):  # an answer may lack a record that the next one has
            answer = await self._answer(series, question, again=again)
            if answer is None:
                return self._silent
            if not answer:
                return f"the exchange gives no record of {question}"
            # It may give none below an id, and fewer than were asked for; what the file lacks is looked for elsewhere.
            first = bisect_left(sample.positions, answer.positions[0])
            given = part(sample, first, bisect_right(sample.positions, answer.positions[-1]))
            if not given:
                return f"the exchange gives no record before {kind.rule(series).shown(answer.positions[0])}"
            if not (differs := difference(kind, series, given, answer)):
                return ""
        raise FileDiffers(f"archive-differs: {differs}")

    async def _answer(self, series: Series, question: Question, *, again: bool) -> Page | None:
        async with self._asking:
            if self._silent or (question in self._answers and not again):
                return self._answers.get(question)
            if self._history is None:
                self._silent = "there is no exchange to compare with"
                return None
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    answer = await self._history.page(series, question)
            except (StreamForgeError, TimeoutError) as error:
                self._silent = f"the exchange does not answer: {str(error) or f'not within {ANSWER_WITHIN_S:g} s'}"
                return None
            while len(self._answers) >= _KEPT:
                del self._answers[next(iter(self._answers))]
            self._answers[question] = answer
            return answer


def _question(kind: RecordKind, series: Series, span: TimeRange, place: Place, sample: Page) -> Question:
    """What gives the records of a sample; where two files meet that lack none there, the same for both."""
    rule, half = kind.rule(series), most_of(kind) // 2
    if not isinstance(rule, Grid):
        if place is Place.INSIDE:
            return ById(sample.positions[0], limit=len(sample))
        middle = sample.positions[0] if place is Place.FIRST else sample.positions[-1] + 1
        return ById(max(0, middle - half), limit=2 * half)
    own = TimeRange(sample.times[0], sample.times[-1] + 1)
    if place is Place.INSIDE or rule.step_ms is None:
        return ByTime(own)
    meets_ms, reach_ms = span.start_ms if place is Place.FIRST else span.end_ms, half * rule.step_ms
    shared = TimeRange(max(0, meets_ms - reach_ms), meets_ms + reach_ms)
    return ByTime(shared if shared.intersection(own) == own else own)
