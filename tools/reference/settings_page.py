"""The page of the settings that services share, and what each README lists, from the fields that read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import msgspec

from streamforge import workers
from streamforge.cli.own_manager import HEARTBEAT_S
from streamforge.manager.manager_settings import ManagerSettings
from streamforge_utils.runtime.life.environment import Variable, type_name, variables
from streamforge_utils.runtime.life.settings import WorkerSettings
from streamforge_utils.runtime.life.worker_definition import Definition

P = TypeVar("P", bound=msgspec.Struct)

_SERVICES, _WORKERS, _LOADERS, _SINKS = "Every service", "Every worker", "Loaders", "Sinks"
_EXCHANGE, _STREAMS, _ARCHIVE = "The exchange", "The streams", "The archive"
_GROUP_OF_USE = {
    "exchange": _EXCHANGE,
    "stream": _STREAMS,
    "archive": _ARCHIVE,
    "output": _LOADERS,
    "input": _SINKS,
    "store": _SINKS,
}
_PAGE = "../../docs/reference/settings.md"


def shared() -> dict[str, list[Variable]]:
    """The settings that several services read in the same form, by their heading on the page."""
    managers = {_form(row) for row in variables(ManagerSettings)}
    found: dict[str, list[Variable]] = {
        title: [] for title in (_SERVICES, _WORKERS, _LOADERS, _SINKS, _EXCHANGE, _STREAMS, _ARCHIVE)
    }
    for row in variables(WorkerSettings):
        common = _SERVICES if _form(row) in managers else _WORKERS
        found[_GROUP_OF_USE.get(row.only, common)].append(row)
    return found


def _form(row: Variable) -> tuple[str, str, str, bool]:
    return row.name, row.default, row.meaning, row.required


def environment_table(definition: Definition[P]) -> str:
    """In Markdown, every variable that the worker reads: a table of its own ones, and the names of the shared ones."""
    common = (
        msgspec.structs.replace(
            row, required=False, default=definition.defaults[row.name].replace("{QUEUE_ID}", "QUEUE_ID")
        )
        if row.name in definition.defaults
        else row
        for row in variables(WorkerSettings, uses=definition.uses)
    )
    return _of_service([*common, *variables(definition.parameters)])


def _of_service(rows: Iterable[Variable]) -> str:
    """Ends in a newline, as `table` does."""
    read = {_form(row): row for row in rows}
    groups = {}
    for title, several in shared().items():
        groups[title] = [row for row in several if read.pop(_form(row), None) is not None]
    parts = [table(read.values())] if read else []
    names = [
        f"| [{title.lower()}]({_PAGE}#{title.lower().replace(' ', '-')}) | {' '.join(map(_name, several))} |"
        for title, several in groups.items()
        if several
    ]
    parts.append("Read as well (bold: required) and explained in Settings:\n")
    parts.append("\n".join(["| settings of | variables |", "|---|---|", *names]) + "\n")
    return "\n".join(parts)


def _name(row: Variable) -> str:
    return f"**`{row.name}`**" if row.required else f"`{row.name}`"


def table(rows: Iterable[Variable]) -> str:
    """A Markdown table of `rows`; ends in a newline."""
    lines = ["| variable | type | default | meaning |", "|---|---|---|---|"]
    for row in rows:
        form = ", ".join(filter(None, (type_name(row.hint), row.unit)))
        cells = (f"`{row.name}`", form, _default(row), row.meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _default(row: Variable) -> str:
    if row.name in _REQUIRED_WHERE:
        return f"**required** {_REQUIRED_WHERE[row.name]}"
    if not row.required:
        return _code(row.default)
    return f"**required** without `{row.unless}`" if row.unless else "**required**"


_REQUIRED_WHERE = {"STREAMFORGE_DATA_DIR": "where the bus, the store or the launcher that the service uses is embedded"}
"""Where it depends on the service."""


def _code(text: str) -> str:
    return f"`{text}`" if text and " " not in text and "`" not in text else text


def environments() -> Iterator[tuple[str, str]]:
    """What each service reads, by the name of its folder."""
    for target in workers.targets():
        yield target, environment_table(workers.definition(target))
    # The manager's own share of the weight follows from STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE.
    yield (
        "queue-manager",
        _of_service(row for row in variables(ManagerSettings) if row.name != "STREAMFORGE_WEIGHT_PER_MINUTE"),
    )


def settings_page() -> str:
    """The settings of the command line, those that several services read, and those of the tests."""
    services = ", ".join(f"[{name}](../../services/{name}/README.md)" for name, _ in environments())
    parts = [
        "# Settings",
        "Settings are environment variables, read once at the start. A missing or bad value ends the start with exit "
        "code 2 and is named; a name that is almost one of these, and none, is pointed out. With "
        "`KAFKA_BOOTSTRAP_SERVERS` Kafka is the bus, with `ARANGO_URL` ArangoDB is the store; what is not named is the "
        "embedded one.",
        f"What one service alone reads is in its README, with the names of all that it reads: {services}.",
        "## streamforge",
        _COMMAND_LINE,
        "A manager that a command runs for itself reads the variables of `queue-manager`, except `STREAMFORGE_HOST` "
        "and `STREAMFORGE_PORT` (`up` reads these too). Its workers tell their progress every "
        f"{HEARTBEAT_S} s (of `up` every 2 s) unless `STREAMFORGE_HEARTBEAT_SECONDS` says otherwise, and it logs "
        "warnings only unless `STREAMFORGE_DEBUG` does (the manager of `load` and the like, beside which a bar moves, "
        "nothing).",
    ]
    for title, rows in shared().items():
        parts += [f"## {title}", *([_NOTES[title]] if title in _NOTES else []), table(rows).rstrip()]
    parts += ["## The tests", _names(TESTS)]
    return "\n\n".join(parts) + "\n"


_NOTES = {
    _WORKERS: "A manager sets all but `STREAMFORGE_STOP_GRACE_SECONDS` for the workers that it starts.",
    _EXCHANGE: "Read by loaders and, but for `STREAMFORGE_WEIGHT_PER_MINUTE`, by queue-manager.",
    _ARCHIVE: "Read by loader-producer and queue-manager. The archive has no key.",
}


def _names(meanings: Mapping[str, str]) -> str:
    rows = [f"| `{name}` | {meaning} |" for name, meaning in meanings.items()]
    return "\n".join(["| variable | meaning |", "|---|---|", *rows])


TESTS = {
    "CI": "set to anything: what a machine cannot do fails a test instead of skipping it",
    "STREAMFORGE_MARKET_DATA": "the folder of recorded market data; else `../shared/market-data`",
    "STREAMFORGE_REQUIRE_MARKET_DATA": "1: recordings that are absent fail a test instead of skipping it",
    "STREAMFORGE_ARANGO_RECORDINGS": "the recorded answers of ArangoDB; else `../shared/arango/recordings.jsonl`",
    "STREAMFORGE_SCHEMAS": "the folder of the schemas of others' formats; else `../shared/schemas`",
    "STREAMFORGE_REQUIRE_SCHEMAS": "1: schemas that are absent fail a test instead of skipping it",
    "STREAMFORGE_REQUIRE_KUBECTL": "1: a kubectl that is absent fails a test instead of skipping it",
    "STREAMFORGE_CHAOS_SEED": "where the random killer and the crashes begin; 1 by default",
    "STREAMFORGE_PICTURES": "the folder for pictures of a journey through the web UI; else none are taken",
    "STREAMFORGE_CHAOS_KILLS": "how many processes the random killer kills; 52 by default",
    "STREAMFORGE_CHAOS_SEEDS": "with how many seeds the broker is broken in the tests of engines",
    "STREAMFORGE_CHAOS_BREAKS": "how often the broker is broken with each of them",
    "STREAMFORGE_CHAOS_KUBERNETES": "how often pods, manager, API server and controller manager are each killed",
    "STREAMFORGE_STREAM_CASES": "through how many mixtures of faults a loader of streams is led; 150 by default",
    "STREAMFORGE_CHAOS_ALL": "1: a crash at every call of a port, not at a choice of them",
}
"""What the tests read of the environment, and what it means."""

_COMMAND_LINE = """\
| variable | default | meaning |
|---|---|---|
| `STREAMFORGE_DATA_DIR` | `~/.local/share/streamforge` (in `XDG_DATA_HOME` where that is set), on macOS \
`~/Library/Application Support/streamforge` | as `--data` |
| `STREAMFORGE_EXCHANGE_URL` | Binance | as `--exchange URL` |
| `STREAMFORGE_TOKEN` |  | the bearer token for `--server`; never an argument, which others on the machine could see |
| `NO_COLOR` |  | set to anything: no colours |
| `COLUMNS` | the terminal's | how wide tables and help are |"""
