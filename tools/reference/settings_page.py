"""The page of the settings, and the environment tables of the services' READMEs, from the fields that read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

import msgspec

from streamforge import workers
from streamforge.cli.own_manager import HEARTBEAT_S
from streamforge.manager.manager_settings import ManagerSettings
from streamforge_utils.runtime.environment import Variable, type_name, variables
from streamforge_utils.runtime.settings import WorkerSettings
from streamforge_utils.runtime.worker_definition import Definition

P = TypeVar("P", bound=msgspec.Struct)


def environment_table(definition: Definition[P]) -> str:
    """A Markdown table of every variable that the worker reads, its parameters last; ends in a newline."""
    common = (
        msgspec.structs.replace(
            row, required=False, default=definition.defaults[row.name].replace("{QUEUE_ID}", "QUEUE_ID")
        )
        if row.name in definition.defaults
        else row
        for row in variables(WorkerSettings, uses=definition.uses)
    )
    return table([*common, *variables(definition.parameters)])


def table(rows: Iterable[Variable]) -> str:
    """A Markdown table of `rows`; ends in a newline."""
    lines = ["| variable | type | unit | default | meaning |", "|---|---|---|---|---|"]
    for row in rows:
        cells = (f"`{row.name}`", type_name(row.hint), row.unit, _default(row), row.meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _default(row: Variable) -> str:
    if not row.required:
        return _code(row.default)
    return f"**required** without `{row.unless}`" if row.unless else "**required**"


def _code(text: str) -> str:
    return f"`{text}`" if text and " " not in text and "`" not in text else text


def environments() -> Iterator[tuple[str, str]]:
    """The environment table of each service, by the name of its folder."""
    for target in workers.targets():
        yield target, environment_table(workers.definition(target))
    # The manager's own share of the weight follows from STREAMFORGE_TOTAL_WEIGHT_PER_MINUTE.
    read = (item for item in variables(ManagerSettings) if item.name != "STREAMFORGE_WEIGHT_PER_MINUTE")
    yield "queue-manager", table(read)


def settings_page() -> str:
    """Every environment variable, by the program that reads it."""
    parts = [
        "# Settings",
        "Settings are environment variables, read once at the start. A missing or bad value ends the start with exit "
        "code 2 and is named; a name that is almost one of these, and none, is pointed out. With "
        "`KAFKA_BOOTSTRAP_SERVERS` Kafka is the bus, with `ARANGO_URL` ArangoDB is the store; what is not named is the "
        "embedded one. Workers are processes of this machine, or Jobs of a Kubernetes cluster "
        "(`STREAMFORGE_LAUNCHER`).",
        "## streamforge",
        _COMMAND_LINE,
        "A manager that a command runs for itself reads the variables of `queue-manager` below, except "
        "`STREAMFORGE_HOST` and `STREAMFORGE_PORT`. Its workers tell their progress every "
        f"{HEARTBEAT_S} s unless `STREAMFORGE_HEARTBEAT_SECONDS` says otherwise, and it logs warnings only unless "
        "`STREAMFORGE_DEBUG` does (the manager of `load` and the like, beside which a bar moves, nothing). `up` reads "
        "`STREAMFORGE_HOST` and `STREAMFORGE_PORT` too.",
    ]
    tables = dict(environments())
    parts += [
        "## queue-manager",
        "Without tokens the API listens on loopback only.",
        tables.pop("queue-manager").rstrip(),
    ]
    for target, table in tables.items():
        parts += [f"## {target}", table.rstrip()]
    parts += ["## The tests", _names(TESTS)]
    return "\n\n".join(parts) + "\n"


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
    "STREAMFORGE_CHAOS_KILLS": "how many processes the random killer kills; 52 by default",
    "STREAMFORGE_CHAOS_SEEDS": "with how many seeds the broker is broken in the tests of engines",
    "STREAMFORGE_CHAOS_BREAKS": "how often the broker is broken with each of them",
    "STREAMFORGE_CHAOS_KUBERNETES": "how often pods, manager, API server and controller manager are each killed",
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
