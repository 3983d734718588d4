"""What a worker file declares: its target, its parameters and its `run`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

if TYPE_CHECKING:
    from streamforge_utils.runtime.context import Context

P = TypeVar("P", bound=msgspec.Struct)


class Role(StrEnum):
    """loader: brings records from the exchange to a topic. sink: brings records from a topic to the store."""

    LOADER = "loader"
    SINK = "sink"


class Use(StrEnum):
    """The parts of the context that a worker asks for; only these are connected."""

    INPUT = "input"
    OUTPUT = "output"
    STORE = "store"
    EXCHANGE = "exchange"


class Definition(msgspec.Struct, Generic[P], frozen=True, kw_only=True):
    """A kind of worker.

    summary: one line for the catalogue. types: what the types that it works on begin with (`api_candles_`).
    parameters: a struct whose fields all have a default and a description; each is read from `STREAMFORGE_<FIELD>`.
    run: the work; it returns when all is done, raises when it cannot be done, and lets itself be cancelled.
    """

    target: str
    summary: str
    role: Role
    types: tuple[str, ...]
    parameters: type[P]
    uses: frozenset[Use]
    run: Callable[[Context[P]], Awaitable[None]]

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema (2020-12) of the parameters."""
        return msgspec.json.schema(self.parameters)
