"""Reading typed settings from the environment: structs whose fields name their variable, unit and meaning.

A struct's field is `Annotated[int, variable("STREAMFORGE_ATTEMPT", "which attempt of the step this is")] = 1`.
Its method `problems`, if it has one, tells which values do not go together.
Reading collects every problem before it raises, so that one start names all that must be changed.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, TypeVar, Union

import msgspec

from streamforge_utils.model.environment_variable import Variable as Variable
from streamforge_utils.model.environment_variable import constant as constant
from streamforge_utils.model.environment_variable import variable as variable
from streamforge_utils.model.errors import ConfigError, InvalidInput
from streamforge_utils.model.secret import Secret
from streamforge_utils.model.timeranges import TimeRange, parse_time_range

PREFIX = "STREAMFORGE_"
_SHOWN = 100
_ALMOST = 0.93
"""How alike two names are of which one is a slip: a letter too many, too few, or two in the wrong order."""
_TRUE, _FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})

S = TypeVar("S", bound=msgspec.Struct)


def load(cls: type[S], environ: Mapping[str, str], *, uses: Collection[str] | None = None) -> S:
    """Read `cls` from `environ`. uses: leave out the variables of other uses; None reads all.

    Raises ConfigError naming every variable that is missing or wrong, its value and what is expected.
    """
    problems: list[str] = []
    found = read(cls, environ, problems, uses=uses)
    if found is None or problems:
        raise settings_error(problems)
    return found


def settings_error(problems: Collection[str]) -> ConfigError:
    """One error for all `problems`."""
    return ConfigError("settings: " + "; ".join(problems))


def read(
    cls: type[S], environ: Mapping[str, str], problems: list[str], *, uses: Collection[str] | None = None
) -> S | None:
    """As `load`, but the problems are added to `problems`; None if there were any."""
    before = len(problems)
    values: dict[str, object] = {}
    for item in _items(cls):
        if not isinstance(item, Variable):
            name, nested = item
            values[name] = read(nested, environ, problems, uses=uses)
            continue
        if item.only and uses is not None and item.only not in uses:
            continue
        text = environ.get(item.name, "")
        if text == "":
            if item.required and not _made_up_for(item, environ, uses):
                problems.append(f"{item.name} is missing: expected {expectation(item)}")
            continue
        try:
            values[item.field] = parse(text, item.hint) if item.check is None else item.check(text)
        except (ValueError, InvalidInput) as error:
            value = "its value" if item.secret or item.unseen else repr(text[:_SHOWN])
            problems.append(f"{item.name}: {value} is not accepted ({error}): expected {expectation(item)}")
    if len(problems) > before:
        return None
    found = cls(**values)
    problems.extend(getattr(found, "problems", list)())
    return found if len(problems) == before else None


def _made_up_for(item: Variable, environ: Mapping[str, str], uses: Collection[str] | None) -> bool:
    if uses is not None and item.even_for in uses and not _is_set(item.even_unless, environ):
        return False
    return not (uses is None and item.even_for) and any(_is_set(one, environ) for one in item.unless.split())


def _is_set(name: str, environ: Mapping[str, str]) -> bool:
    return environ.get(name, "").lower() not in _FALSE | {""}


def variables(cls: type[msgspec.Struct], *, uses: Collection[str] | None = None) -> Iterator[Variable]:
    """Every variable that `cls` reads, nested structs included, in order; `unless` where something makes up for it."""
    for item in _items(cls):
        if not isinstance(item, Variable):
            yield from variables(item[1], uses=uses)
        elif not item.only or uses is None or item.only in uses:
            yield msgspec.structs.replace(item, unless=_made_up_by(item, uses))


def _made_up_by(item: Variable, uses: Collection[str] | None) -> str:
    """The variables that make up for it, as messages and the reference name them."""
    if item.even_for and uses is None:
        return ""
    if item.even_for and uses is not None and item.even_for in uses:
        return f"{item.unless}` and `{item.even_unless}" if item.even_unless else ""
    return "` or `".join(item.unless.split())


def misspelt(environ: Mapping[str, str], known: Collection[str]) -> list[str]:
    """A sentence for each variable in `environ` that is almost one of `known`, which are read, and none of them.

    Other names of ours are another service's, and no mistake where several share an environment.
    """
    unknown = sorted(name for name in environ if name.startswith(PREFIX) and name not in known)
    if not unknown:
        return []
    from difflib import get_close_matches  # is seldom needed, and costs the start of every process

    near = {name: get_close_matches(name, known, n=1, cutoff=_ALMOST) for name in unknown}
    return [f"{name} is set, but nothing reads it: is {names[0]} meant?" for name, names in near.items() if names]


def written(settings: msgspec.Struct, *, defaults: bool = False) -> dict[str, str]:
    """The variables with which another process reads the same settings; what has its default only with `defaults`.

    A relative path is made absolute, as the other process may have another folder.
    """
    found: dict[str, str] = {}
    for item in _items(type(settings)):
        if not isinstance(item, Variable):
            found |= written(getattr(settings, item[0]), defaults=defaults)
        elif (value := getattr(settings, item.field)) != item.value or (defaults and value is not None):
            match value:
                case Secret():
                    found[item.name] = value.reveal()
                case Path():
                    found[item.name] = str(value.absolute())
                case _:
                    found[item.name] = _text(value)
    return found


def secrets_of(settings: msgspec.Struct) -> list[str]:
    """The texts that must never be shown."""
    found: list[str] = []
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if isinstance(value, Secret) and value:
            found.append(value.reveal())
        elif isinstance(value, msgspec.Struct):
            found.extend(secrets_of(value))
    return found


def parse(text: str, hint: object) -> object:
    """The value that `text` stands for. Raises ValueError or InvalidInput."""
    kind = plain(hint)
    if kind is bool:
        if text.lower() in _TRUE | _FALSE:
            return text.lower() in _TRUE
        raise ValueError("neither true nor false")
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        return tuple(parse(part.strip(), inner) for part in text.split(",") if part.strip())
    parser = _PARSERS.get(kind) or getattr(kind, "parse_setting", None)
    if parser is not None:
        return parser(text)
    return msgspec.convert(text, hint, strict=False)


def plain(hint: object) -> object:
    """`hint` without `Annotated` and without `| None`."""
    while True:
        origin = typing.get_origin(hint)
        if origin is Annotated:
            hint = typing.get_args(hint)[0]
        elif origin in (Union, types.UnionType):
            kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
            if len(kinds) != 1:
                return hint
            hint = kinds[0]
        else:
            return hint


def type_name(hint: object) -> str:
    """How the reference calls a type."""
    kind = plain(hint)
    if typing.get_origin(kind) is tuple:
        return f"{type_name(typing.get_args(kind)[0])}, …"
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(f"`{choice}`" for choice in typing.get_args(kind))
    if isinstance(kind, type):
        return _NAMES.get(kind) or str(getattr(kind, "setting_form", kind.__name__))
    return str(kind)


def expectation(item: Variable) -> str:
    """What the variable should hold, for a message."""
    unit = f" in {item.unit}" if item.unit else ""
    return f"{type_name(item.hint)}{unit}, {item.meaning}"


_PARSERS: dict[object, Callable[[str], object]] = {Secret: Secret, Path: Path, TimeRange: parse_time_range, str: str}
_NAMES: dict[type, str] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "`true` or `false`",
    Path: "path",
    Secret: "secret text",
    TimeRange: "START:END",
}


@functools.cache
def _items(cls: type[msgspec.Struct]) -> tuple[Variable | tuple[str, type[msgspec.Struct]], ...]:
    return tuple(_declared(cls))


def _declared(cls: type[msgspec.Struct]) -> Iterator[Variable | tuple[str, type[msgspec.Struct]]]:
    for field in msgspec.structs.fields(cls):
        kind, annotations = plain(field.type), typing.get_args(field.type)[1:]
        declared = next((one for one in annotations if isinstance(one, Variable)), None)
        metas = [one for one in annotations if isinstance(one, msgspec.Meta)]
        if declared is None and not metas and isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            yield field.name, kind
            continue
        if declared is None:
            meaning = next((meta.description for meta in metas if meta.description), "")
            unit = next((meta.extra["unit"] for meta in metas if meta.extra and "unit" in meta.extra), "")
            declared = Variable(PREFIX + field.name.upper(), meaning, unit=unit)
        if not declared.name:
            continue
        value = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            value = typing.cast("Callable[[], object]", field.default_factory)()
        yield msgspec.structs.replace(
            declared,
            field=field.name,
            hint=field.type,
            secret=kind is Secret,
            required=declared.required or value is msgspec.NODEFAULT,
            value=value,
            default=declared.default or _shown(value),
        )


def _shown(default: object) -> str:
    return "" if default in (msgspec.NODEFAULT, None) or isinstance(default, Secret) else _text(default)


def _text(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join(map(str, value))
        case float():
            return f"{value:g}"
        case _:
            return str(value)
