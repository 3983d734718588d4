"""The settings and the parameters of a worker, read together and checked against its definition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.model.kinds.registry import is_type, kind_of_type, kinds, normal_type
from streamforge_utils.model.names import telemetry_id
from streamforge_utils.runtime.environment import read, settings_error
from streamforge_utils.runtime.settings import WorkerSettings, exchange_problems
from streamforge_utils.runtime.worker_definition import Definition

P = TypeVar("P", bound=msgspec.Struct)


def load_worker(definition: Definition[P], environ: Mapping[str, str]) -> tuple[WorkerSettings, P]:
    """Read the settings and the parameters of a worker.

    Raises ConfigError naming every variable that is missing, wrong, or asks for what this version does not have.
    """
    problems: list[str] = []
    parameters = read(definition.parameters, environ, problems)
    if parameters is not None:
        try:
            definition = definition.adapted(parameters)
        except InvalidInput as error:
            problems.append(str(error))
    given = with_defaults(definition, environ)
    if definition.types and given.get("TYPE"):
        try:
            given["TYPE"] = normal_type(given["TYPE"])
        except InvalidInput as error:
            problems.append(f"TYPE: {error}")
    settings = read(WorkerSettings, given, problems, uses=definition.uses)
    if settings is not None:
        settings = _checked(settings, definition, problems)
    if problems or settings is None or parameters is None:
        raise settings_error(problems)
    return settings, parameters


def with_defaults(definition: Definition[P], environ: Mapping[str, str]) -> dict[str, str]:
    """`environ`, and what the definition can do without where `environ` lacks it."""
    lacking = {name: text for name, text in definition.defaults.items() if not environ.get(name)}
    return {
        **environ,
        **{name: text.replace("{QUEUE_ID}", environ.get("QUEUE_ID", "")) for name, text in lacking.items()},
    }


def _checked(settings: WorkerSettings, definition: Definition[P], problems: list[str]) -> WorkerSettings:
    if settings.interval and not _agrees(settings.interval, settings.type):
        problems.append(
            f"INTERVAL: {settings.interval[:80]!r} does not agree with TYPE {settings.type!r}: leave it out"
        )
    problems.extend(
        exchange_problems(settings.exchange.urls, settings.exchange.weight_per_minute, "STREAMFORGE_WEIGHT_PER_MINUTE")
    )
    problems.extend(
        f"STREAMFORGE_RANGES: {part} is not inside TIME_RANGE {settings.time_range}"
        for part in settings.ranges
        if part.intersection(settings.time_range) != part
    )
    if settings.telemetry_id:
        return settings
    return msgspec.structs.replace(settings, telemetry_id=telemetry_id(definition.target, settings.queue_id))


def _agrees(interval: str, type_name: str) -> bool:
    """Whether the interval is that of the type; with a type of no kind, which a diagnostic worker may have, of any."""
    if not is_type(type_name):
        return any(kind.normal_interval(interval) for kind in kinds())
    kind = kind_of_type(type_name)
    return kind.normal_interval(interval) == kind.interval_of(type_name)
