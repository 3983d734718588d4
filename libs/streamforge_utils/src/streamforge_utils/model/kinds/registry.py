"""The kinds of records there are: those of this package, and those of plugins.

Each module or package beside this one that has a `KIND` is a kind; nothing lists them.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache

from streamforge_utils.model import kinds as _package
from streamforge_utils.model.completeness.rule import Rule
from streamforge_utils.model.errors import ConfigError, InvalidInput
from streamforge_utils.model.kinds.kind import RecordKind
from streamforge_utils.model.names import lower_type
from streamforge_utils.model.series import Series, check_symbol
from streamforge_utils.model.spelling import closest

_registered: dict[str, RecordKind] = {}
_complete = False
_SHOWN = 80
_TELLING = 4
"""A shorter word, such as `ws`, does not tell which type was meant."""
_NOW_MS = 1_700_000_000_000
"""A time of these years, unix milliseconds."""
_DAY_MS = 86_400_000


def register(kind: RecordKind) -> None:
    """Add a kind. Raises ConfigError if another one has its name or one of its types, or if it contradicts itself."""
    _check(kind)
    for other in kinds():
        if other is kind:
            return
        same = {other.name} & {kind.name} or set(other.types) & set(kind.types)
        if same:
            raise ConfigError(
                f"two kinds of records are called {min(same)}: {type(other).__module__} and {type(kind).__module__}; "
                "rename one"
            )
    _registered[kind.name] = kind
    _forget()


def _check(kind: RecordKind) -> None:
    """Raises ConfigError naming what does not go together, before the first record is loaded."""

    def wrong(what: str) -> ConfigError:
        return ConfigError(f"the kind of records {kind.name!r} ({type(kind).__module__}): {what}")

    if re.fullmatch(r"[a-z][a-z0-9_]*", kind.name) is None:
        raise wrong("its name is not of small letters, digits and _: rename it")
    fields = kind.stored.__struct_fields__
    named = {"position": [kind.position], "time": [kind.time], "times": kind.times}
    named["indexes"] = [field for index in kind.indexes for field in index]
    for attribute, names in named.items():
        for name in names:
            if name not in fields:
                raise wrong(f"`{attribute}` names {name!r}, which `{kind.stored.__name__}` lacks: {', '.join(fields)}")
    type_name = kind.types[0]
    rule = kind.rule(Series("ANY", kind.name, kind.interval_of(type_name) or ""))
    if kind.streaming is not None and kind.intervals is None and not rule.is_counted:
        raise wrong("its rule counts nothing, and it has no `intervals`: nothing could tell what is complete")
    if rule.position_at(_NOW_MS) is None:
        return  # its positions are ids
    if kind.position != kind.time:
        raise wrong(f"its rule is one of time, and its position is {kind.position!r}, not its time {kind.time!r}")
    if kind.digits < len(str(_NOW_MS)):
        raise wrong(f"its positions are times, of {len(str(_NOW_MS))} digits: `digits` is {kind.digits}")


def unregister(kind: RecordKind) -> None:
    """Take away a kind that was added."""
    _registered.pop(kind.name, None)
    _forget()


def kinds() -> Sequence[RecordKind]:
    """Every kind, those of this package first."""
    global _complete
    if not _complete:
        _complete = True
        for found in pkgutil.iter_modules(_package.__path__, f"{_package.__name__}."):
            kind = getattr(importlib.import_module(found.name), "KIND", None)
            if isinstance(kind, RecordKind):
                _registered.setdefault(kind.name, kind)
    return tuple(_registered.values())


def kinds_in_segments() -> Sequence[RecordKind]:
    """The kinds whose records lie in segments."""
    return [kind for kind in kinds() if kind.segments]


@lru_cache(maxsize=64)
def kind_named(name: str) -> RecordKind:
    """The kind of that name. Raises ConfigError if there is none: a plugin may not have been named."""
    for kind in kinds():
        if kind.name == name:
            return kind
    raise ConfigError(
        f"the kind of records {name[:_SHOWN]!r} is not known: name the file that defines it in STREAMFORGE_PLUGINS"
    )


@lru_cache(maxsize=1024)
def kind_of_type(type_name: str) -> RecordKind:
    """The kind that a type belongs to. Raises InvalidInput naming what was probably meant, or the choices."""
    for kind in kinds():
        if kind.interval_of(type_name) is not None:
            return kind
    loaded = [kind for kind in kinds() if kind.paging is not None or kind.streaming is not None]
    named = [kind for kind in loaded if kind.name in type_name]
    alike = (
        [] if named or len(type_name) < _TELLING else closest(type_name, [one for kind in loaded for one in kind.types])
    )
    named = named or loaded
    found = [one for one in (kind.meant(type_name) for kind in named) if one is not None]
    meant = next(iter((*closest(type_name, found), *found, *alike)), None)
    choices = ", ".join(sorted((one for kind in named for one in kind.types), key=lambda one: one.startswith("ws_")))
    advice = f"choose one of {choices}" if meant is None else f"did you mean {meant}?"
    if meant is None:
        advice += "; of a kind of your own STREAMFORGE_PLUGINS must name the file"
    raise InvalidInput("type", f"type {type_name[:_SHOWN]!r} is not known: {advice}")


def kind_of(series: Series) -> RecordKind:
    """The kind of a series. Raises ConfigError if it is not known."""
    return kind_named(series.kind)


def kind_of_document(key: str, body: bytes) -> RecordKind | None:
    """The kind whose records have such keys and exactly such fields; None: no kind has."""
    return next((kind for kind in kinds() if kind.position_of(key) is not None and kind.holds(body)), None)


def kind_of_collection(name: str) -> RecordKind | None:
    """The kind whose type the name of a collection, or the base of those of days, holds; None: it names none."""
    named = (kind for kind in kinds() for one in kind.types if f"_{lower_type(one)}_" in f"{name}_")
    return next(named, None)


def kind_of_fields(fields: AbstractSet[str]) -> RecordKind | None:
    """The kind whose exported records have exactly these fields; None: no kind has."""
    return next((kind for kind in kinds() if fields == set(kind.columns)), None)


def as_exported(key: str, body: bytes) -> bytes:
    """A stored document as the export writes it; what is no record of a kind stays as it is."""
    kind = kind_of_document(key, body)
    return body if kind is None else kind.as_exported(body)


def series_of_document(key: str, body: bytes) -> Series | None:
    """The series that a stored document belongs to; None: it is no record of a kind."""
    kind = kind_of_document(key, body)
    return None if kind is None else kind.series_of_document(body)


def is_type(text: str) -> bool:
    """Whether `text` is a type."""
    return any(kind.interval_of(text) is not None for kind in kinds())


def is_live_type(text: str) -> bool:
    """Whether `text` is a type that goes on until it is stopped, and needs no range."""
    return is_type(text) and kind_of_type(text).is_endless(text)


def normal_type(type_name: str) -> str:
    """`type_name` in its one spelling (`api_candles_1mo` is `api_candles_1M`). Raises InvalidInput if unknown."""
    return kind_of_type(type_name).normal_type(type_name)


@lru_cache(maxsize=1024)
def series_of(symbol: str, type_name: str) -> Series:
    """The series that a request belongs to. Raises InvalidInput if the type is unknown."""
    kind = kind_of_type(type_name)
    return Series(symbol, kind.name, kind.interval_of(type_name) or "")


def daily_series(symbol: str) -> Series:
    """The series of the symbol that has a record for each day, and so tells when it was traded. Raises ConfigError."""
    return series_of(symbol, _daily_type())


@lru_cache(maxsize=1)
def _daily_type() -> str:
    for kind in kinds():
        for type_name in kind.types if kind.paging is not None and kind.archive is not None else ():
            if rule_of(series_of("ANY", type_name)).step_ms == _DAY_MS:
                return type_name
    raise ConfigError("no kind of records has one for each day, and comes by requests and in files")


def rule_of(series: Series) -> Rule:
    """The completeness rule of a series."""
    return kind_of(series).rule(series)


def type_of(series: Series) -> str:
    """The type that loads the history of a series."""
    return kind_of(series).type_of(series.interval)


def has_history(series: Series) -> bool:
    """Whether the exchange gives what of the series is past; of others all that was not heard is lost."""
    return not is_live_type(type_of(series))


def check_series(symbol: str, type_name: str) -> tuple[str, str]:
    """A symbol and a type in their one spelling. Raises InvalidInput, with the advice to swap the two if they are."""
    if is_type(symbol) and not is_type(type_name):
        raise InvalidInput(
            "type",
            f"type {type_name[:_SHOWN]!r} is not known and {symbol!r} is a type: the symbol comes first, then the type "
            f"({type_name[:_SHOWN]} {symbol})",
        )
    return check_symbol(symbol), normal_type(type_name)


def _forget() -> None:
    for cached in (kind_named, kind_of_type, series_of, _daily_type):
        cached.cache_clear()
