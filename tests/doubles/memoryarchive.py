"""An archive in memory: files of days and months that a test publishes, and a loader that is to read them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

import msgspec

from streamforge import workers
from streamforge_utils.model.errors import PermanentError
from streamforge_utils.model.kinds.archive_files import ArchiveFiles
from streamforge_utils.model.kinds.paging import Page
from streamforge_utils.model.kinds.registry import kind_of
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange, parse_time_range
from streamforge_utils.ports.archive import ArchiveFile, FileDiffers, FileRefused, Place, VerifiedFile
from streamforge_utils.runtime.life.context import Context
from streamforge_utils.runtime.life.worker_definition import Definition, Role, Source, Use

TARGET = "loader-producer"
ROW_BYTES = 20
"""Of a record in a file."""


class MemoryArchive:
    """Has `published`. asked: the spans that its files were asked for. failing: what every question raises.

    content: the records of a series in a span. refused: why files cannot be trusted, by path. lying: paths of files
    that the exchange has otherwise.
    """

    def __init__(
        self, published: Iterable[ArchiveFile] = (), content: Callable[[Series, TimeRange], Page] | None = None
    ) -> None:
        self.published = list(published)
        self.asked: list[TimeRange] = []
        self.failing: Exception | None = None
        self.refused: dict[str, str] = {}
        self.lying: set[str] = set()
        self._content = content
        self._verified: set[str] = set()

    async def files(self, series: Series, span: TimeRange) -> Sequence[ArchiveFile]:
        self._check()
        self.asked.append(span)
        mine = [one for one in self.published if one.path.startswith(f"{series.symbol}-")]
        found = [one for one in mine if one.span.intersection(span) is not None]
        return sorted(found, key=lambda one: (one.span.start_ms, -one.span.end_ms))

    async def symbols(self, kind: str) -> Sequence[str]:
        self._check()
        return sorted({one.path.partition("-")[0] for one in self.published})

    async def verify(self, series: Series, file: ArchiveFile) -> VerifiedFile:
        self._check()
        if file.path in self.refused or file not in self.published:
            raise FileRefused(f"{file.path}: {self.refused.get(file.path, 'it is gone')}")
        cached = file.path in self._verified
        self._verified.add(file.path)
        return VerifiedFile(file=file, sha256="0" * 64, cached=cached)

    async def records(self, series: Series, file: VerifiedFile) -> AsyncGenerator[Page, None]:
        self._check()
        if self._content is not None:
            yield self._content(series, file.file.span)

    async def compare(self, series: Series, file: VerifiedFile, places: Collection[Place]) -> str:
        self._check()
        if file.file.path in self.lying:
            raise FileDiffers(f"{file.file.path}: archive-differs: its first record")
        return ""

    async def close(self) -> None:
        self.failing = PermanentError("the archive is closed")

    def _check(self) -> None:
        if self.failing is not None:
            raise self.failing


def published(text: str, records: int = 1440, *, symbol: str = "BTCUSDT") -> ArchiveFile:
    """A file of `2024-03` or `2024-03-05`."""
    return ArchiveFile(
        path=f"{symbol}-{text}.zip", span=parse_time_range(text), size=records * ROW_BYTES, published="1"
    )


class _Files(ArchiveFiles):
    folder = "klines"
    row_bytes = ROW_BYTES

    def place(self, series: Series) -> str:
        return series.symbol

    def stem(self, series: Series) -> str:
        return series.symbol

    def read(self, rows: bytes, series: Series, version: int) -> Page:
        raise AssertionError("a memory archive has no rows")


async def _load(ctx: Context[_Nothing]) -> None:
    raise AssertionError("a worker of these tests is said to have run, it never does")


class _Nothing(msgspec.Struct):
    """No parameters."""


LOADER = Definition(
    target=TARGET,
    summary="loads the exchange's files of past days and months",
    role=Role.LOADER,
    types=("api_",),
    default=False,
    source=Source.ARCHIVE,
    parameters=_Nothing,
    uses=frozenset({Use.OUTPUT}),
    run=_load,
)


@contextmanager
def with_files(*series: Series) -> Iterator[None]:
    """Meanwhile the kinds of these series are in archives, all files hold `ROW_BYTES` a record, and `LOADER` reads
    them.
    """
    others = workers._of_plugins
    with patch.object(workers, "_of_plugins", lambda: {**others(), TARGET: LOADER}):
        kinds = {kind_of(one) for one in series}
        patches = [patch.object(type(kind), "archive", _Files()) for kind in kinds]
        for one in patches:
            one.start()
        try:
            yield
        finally:
            for one in patches:
                one.stop()
