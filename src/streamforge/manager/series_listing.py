"""Which series are stored, by page: with the span of each, its records, and what its verdicts add up to."""

from __future__ import annotations

from streamforge.manager.coverage import answers as data_answers
from streamforge.manager.coverage.service import Reports
from streamforge.manager.coverage.store import CoverageStore, SeriesCoverage
from streamforge.manager.use_cases import lost_cursor
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.kinds.registry import series_of


async def series_page(
    coverage: CoverageStore, reports: Reports, *, cursor: str | None, limit: int, prefix: str, type: str | None
) -> data_answers.SeriesPage:
    """The series behind the cursor whose symbol begins with `prefix` and that have the type.

    Raises InvalidInput for a cursor or a type that is none, or RetryableError.
    """
    wanted = None if type is None else series_of("ANY", type)
    found, after, more = list[tuple[str, SeriesCoverage]](), cursor, True
    while more and len(found) <= limit:
        try:
            page = await coverage.page(after=after, limit=limit + 1)
        except InvalidInput as error:
            raise lost_cursor(after or "", "series") from error
        for name, known in page:
            if known is None:
                continue
            fits = wanted is None or (known.series.kind, known.series.interval) == (wanted.kind, wanted.interval)
            if fits and known.series.symbol.startswith(prefix):
                found.append((name, known))
        more = len(page) > limit
        after = page[-1][0] if page else None
    listed = await reports.of_stored([known for _, known in found[:limit]])
    return data_answers.SeriesPage(series=listed, cursor=found[limit - 1][0] if len(found) > limit else None)
