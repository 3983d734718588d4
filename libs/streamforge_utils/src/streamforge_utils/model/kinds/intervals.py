"""How the record is read that a loader keeps of its own, where the keys of what is stored do not tell what lacks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from streamforge_utils.model.completeness.continuity import Unbroken
from streamforge_utils.model.completeness.interval_survey import Link
from streamforge_utils.model.series import Series
from streamforge_utils.model.timeranges import TimeRange


class Intervals(ABC):
    """The intervals that a loader tells of one kind, and the records of that kind, as they are stored.

    kind: of the entries that hold the intervals. beside: all kinds whose records lie in the collection of the records,
    and go with them.
    """

    kind: ClassVar[str]
    beside: ClassVar[tuple[str, ...]]

    @abstractmethod
    def interval(self, body: bytes) -> Unbroken:
        """The interval of a stored entry. Raises PermanentError."""

    @abstractmethod
    def backing(self, interval: Unbroken) -> Sequence[tuple[str, range]]:
        """The kinds of which records must be stored beside an interval without doubt, each with the positions of which
        one must be there."""

    @abstractmethod
    def unbacked(self, interval: Unbroken) -> Unbroken:
        """The interval with the doubt of one of whose `backing` nothing is stored."""

    @abstractmethod
    def ended(self, last: Unbroken | None, links: Sequence[Link]) -> Sequence[Unbroken]:
        """What a loader has left to tell that ended without a word. last: its last interval. links: what came."""

    @abstractmethod
    def link(self, body: bytes) -> Link:
        """What a stored document of the kind itself links. Raises PermanentError."""

    # Segments

    @abstractmethod
    def prefix(self, series: Series, first_id: int, last_id: int) -> str:
        """What the names of the segments begin with that begin with an update between these two."""

    @abstractmethod
    def first_id(self, name: str) -> int | None:
        """The first update of the segment whose manifest has this name; None: it is no manifest."""

    @abstractmethod
    def last_id(self, manifest: bytes) -> int:
        """The last update of a segment. Raises PermanentError."""

    @abstractmethod
    def span(self, manifest: bytes) -> TimeRange:
        """When the records of a segment happened. Raises PermanentError."""

    @abstractmethod
    def content(self, name: str) -> str:
        """The name of the content of the segment whose manifest has this name."""

    @abstractmethod
    def links(self, content: bytes, manifest: bytes) -> list[Link]:
        """What the records of a segment link. Raises PermanentError where it is not as its manifest says."""
