"""How an exchange's REST interface gives the state of a series now, where its records only tell what changed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from streamforge_utils.model.series import Series


class Snapshots(ABC):
    """The requests for snapshots of one kind. path: of the endpoint. most: of what a limit may be."""

    path: ClassVar[str]
    most: ClassVar[int]

    @abstractmethod
    def weight(self, limit: int) -> int:
        """The request weight of a request with that limit."""

    @abstractmethod
    def parameters(self, series: Series, limit: int) -> dict[str, str]:
        """The query of a request."""
