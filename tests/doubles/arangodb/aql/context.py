"""What a running query knows: where it reads and writes, its parameters, and what it counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.doubles.arangodb.collections import Collection
from tests.doubles.arangodb.errors import ArangoError

if TYPE_CHECKING:
    from tests.doubles.arangodb.databases import Database
    from tests.doubles.arangodb.documents import Unit

May = Callable[[Collection, bool], None]


class Context:
    """One query. `sleep`: seconds that SLEEP was asked for; the answer is delayed by them."""

    def __init__(
        self, database: Database, unit: Unit, binds: dict[str, Any], options: dict[str, Any], may: May | None = None
    ) -> None:
        self.database = database
        self.unit = unit
        self.binds = binds
        self.options = options
        self.used: dict[str, str] = {}
        self.used_binds: set[str] = set()
        self.warnings: list[dict[str, Any]] = []
        self.sleep = 0.0
        self.writes = self.ignored = self.scanned = self.scanned_index = self.filtered = 0
        self.full_count: int | None = None
        self.memory = 0
        self.memory_limit = 0
        self._may = may

    def collection(self, name: Any, write: bool = False) -> Collection:
        """The collection of a name; 1203 where there is none. A transaction may refuse it."""
        found = self.database.collection(name)
        if write or found.name not in self.used:
            self.used[found.name] = "write" if write else "read"
        if self._may is not None:
            self._may(found, write)
        return found

    def bind(self, name: str) -> Any:
        self.used_binds.add(name)
        if name not in self.binds:
            raise ArangoError(1551, f"no value specified for declared bind parameter '{name}' (while parsing)")
        return self.binds[name]

    def warn(self, number: int, message: str) -> None:
        """A warning, or an error where the query is to fail on warnings."""
        if self.options.get("failOnWarning"):
            raise ArangoError(number, f"AQL: {message} (while executing)")
        if len(self.warnings) < self.options.get("maxWarningCount", 10):
            self.warnings.append({"code": number, "message": message})

    def keep(self, rows: int) -> None:
        """Count rows that are held in memory (some 48 bytes each); error 32 above the query's limit."""
        self.memory += rows * 48
        if self.memory_limit and self.memory > self.memory_limit:
            raise ArangoError(32, "AQL: query would use more memory than allowed (while executing)")
