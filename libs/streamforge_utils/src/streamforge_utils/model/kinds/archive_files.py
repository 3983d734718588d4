"""How an exchange's archive gives records of a kind: which files there are, and how their rows become records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from streamforge_utils.model.kinds.archive_rows import RowForm
from streamforge_utils.model.kinds.paging import Page
from streamforge_utils.model.series import Series


class ArchiveFiles(ABC):
    """The files of one kind. folder: of the kind in the archive. row_bytes: of a record in a compressed file, about.

    rows: the columns, which a header row must name; None: a header row is skipped unread.
    """

    folder: ClassVar[str]
    row_bytes: ClassVar[int] = 20
    rows: ClassVar[RowForm | None] = None

    def has_days(self, series: Series) -> bool:
        """Whether the archive has files of single days of the series, beside those of months."""
        return True

    def place(self, series: Series) -> str:
        """The folder of the series inside that of the kind: `BTCUSDT`; of candles `BTCUSDT/1m`."""
        return series.symbol

    def stem(self, series: Series) -> str:
        """What the names of the files begin with: `BTCUSDT-trades`, `BTCUSDT-1m`; the day or the month follows."""
        return f"{series.symbol}-{self.folder}"

    def check_header(self, header: bytes) -> None:
        """Raises MalformedPage where the header row of a file names other columns than `read` takes."""
        if self.rows is not None:
            self.rows.check_header(header)

    @abstractmethod
    def read(self, rows: bytes, series: Series, version: int) -> Page:
        """Whole rows of a file, without a header, as they travel. Times may be milliseconds or microseconds.

        They ascend, each of them once. version: of the records. Raises MalformedPage naming the row and what is wrong
        with it.
        """
