"""What a worker file declares: its target, its parameters and its `run`.

On a command line the parameters are options: the environment's names, spelled as options are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.ports.instrumentation import DerivedMetric
from streamforge_utils.runtime.life.environment import Variable, plain, type_name, variables

if TYPE_CHECKING:
    from streamforge_utils.runtime.life.context import Context


P = TypeVar("P", bound=msgspec.Struct)

ALL_TIME = "1970:9999"
"""The time range of a live type that is started without one."""


class Role(StrEnum):
    """What a worker is to a workflow.

    loader: brings records from the exchange to a topic. sink: brings records from a topic to the store. analyst: makes
    something of records that are proven to be stored.
    diagnostic: belongs to no workflow; it is run by hand, to see whether the rest works.
    """

    LOADER = "loader"
    SINK = "sink"
    ANALYST = "analyst"
    DIAGNOSTIC = "diagnostic"


class Source(StrEnum):
    """Where a loader has its records from: the exchange's files of past days, its REST interface, or its streams."""

    ARCHIVE = "archive"
    REST = "rest"
    STREAM = "stream"


class Use(StrEnum):
    """The parts of the context that a worker asks for; only these are connected."""

    INPUT = "input"
    OUTPUT = "output"
    STORE = "store"
    EXCHANGE = "exchange"
    ARCHIVE = "archive"
    STREAM = "stream"
    OBJECTS = "objects"


class Definition(msgspec.Struct, Generic[P], frozen=True, kw_only=True):
    """A kind of worker.

    summary: one line for the catalogue. types: what the types that it works on begin with (`api_candles_`); none: it
    takes any `TYPE`. default: it works on them unless a request names other targets; else it must be named itself.
    source: of a loader, which parts of a plan are its own.
    parameters: a struct whose fields all have a default and a description; each is read from `STREAMFORGE_<FIELD>`.
    run: the work; it returns when all is done, raises when it cannot be done, and lets itself be cancelled.
    commands: what it obeys beside the common commands, each with the type of its payload; `ctx.command()` gives them.
    defaults: common settings that it can do without, by variable; `{QUEUE_ID}` in one stands for that variable's value.
    derived_metrics: metrics of its own, counted from the common ones.
    makes_topic: it makes its data topic if there is none; the others leave that to the manager.
    require: raises ConfigError where this machine lacks what the work needs with given parameters; it imports nothing.
    adapt: what the definition becomes with given parameters; a worker whose parts depend on them needs it.
    """

    target: str
    summary: str
    role: Role
    types: tuple[str, ...]
    default: bool = True
    source: Source = Source.REST
    parameters: type[P]
    uses: frozenset[Use]
    run: Callable[[Context[P]], Awaitable[None]]
    commands: Mapping[str, type[msgspec.Struct]] = {}
    defaults: Mapping[str, str] = {}
    derived_metrics: tuple[DerivedMetric, ...] = ()
    makes_topic: bool = False
    require: Callable[[P], None] | None = None
    adapt: Callable[[Definition[P], P], Definition[P]] | None = None

    def adapted(self, parameters: P) -> Definition[P]:
        """The definition as it is with `parameters`. Raises InvalidInput where they do not go together."""
        return self if self.adapt is None else self.adapt(self, parameters)

    def json_schema(self) -> dict[str, Any]:
        """The JSON Schema (2020-12) of the parameters."""
        return msgspec.json.schema(self.parameters)


_DEBUG = "--debug"


def options_of(definition: Definition[P]) -> dict[str, Variable]:
    """The parameters of `definition` by their option: `--fail-after` is `fail_after`."""
    return {f"--{item.field.replace('_', '-')}": item for item in variables(definition.parameters)}


def environment_of(definition: Definition[P], arguments: Sequence[str]) -> dict[str, str]:
    """The variables that `arguments` set: `--fail-after 3`, `--fail-after=3`, `--noop`.

    Values are checked where the environment is read. Raises InvalidInput naming what is no option, or lacks its value.
    """
    known = options_of(definition)
    found: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        option, equals, value = rest.pop(0).partition("=")
        if option == _DEBUG and not equals:
            found["STREAMFORGE_DEBUG"] = "true"
        elif option not in known:
            raise InvalidInput("option", f"{option[:80]!r} is no option of {definition.target}")
        elif equals:
            found[known[option].name] = value
        elif plain(known[option].hint) is bool:
            found[known[option].name] = "true"
        elif rest:
            found[known[option].name] = rest.pop(0)
        else:
            raise InvalidInput("option", f"{option} needs a value: {type_name(known[option].hint)}")
    return found


def help_text(definition: Definition[P], usage: str) -> str:
    """What the target does and which options it has."""
    rows = [(_DEBUG, "log also what is only of use to find a fault")]
    for option, item in options_of(definition).items():
        word = item.unit.upper() if item.unit.isalpha() else "VALUE"
        value = "" if plain(item.hint) is bool else f" {word}"
        default = f" (default {item.default})" if item.default and value else ""
        unit = f" [{item.unit}]" if item.unit and word == "VALUE" else ""
        rows.append((option + value, f"{item.meaning}{unit}{default}"))
    width = max(len(left) for left, _ in rows)
    lines = [f"  {left:<{width}}  {right}" for left, right in rows]
    return "\n".join([f"usage: {usage}", f"{definition.target} {definition.summary}.", "", *lines])
