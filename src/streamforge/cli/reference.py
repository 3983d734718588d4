"""`make docs`: writes the reference that follows from the code; `--check` names the pages that are stale."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from streamforge.cli.own_manager import HEARTBEAT_S
from streamforge.cli.reference_cli import cli_page
from streamforge.cli.reference_http import http_page
from streamforge.cli.reference_manifests import manifests, shown
from streamforge.cli.reference_measured import measured
from streamforge.cli.reference_topics import messages_page, topics_page

FOLDER = Path("docs") / "reference"
NOTE = "<!-- Generated from the code by `make docs`: do not edit. -->\n"
_MARKED = re.compile(r"(<!-- environment\b[^>]*-->\n)(.*?)(<!-- /environment -->)", re.DOTALL)


def pages(root: Path) -> dict[Path, str]:
    """Every generated page by its path below `root`."""
    found = {FOLDER / "cli.md": NOTE + cli_page(), FOLDER / "settings.md": NOTE + settings_page()}
    found[FOLDER / "openapi.json"] = _json(openapi())
    found[FOLDER / "asyncapi.json"] = _json(asyncapi())
    found[FOLDER / "messages.md"] = NOTE + messages_page(schemas())
    found[FOLDER / "topics.md"] = NOTE + topics_page(asyncapi())
    found[FOLDER / "http-api.md"] = NOTE + http_page(openapi())
    found |= dict(manifests())
    found |= dict(shown(root))
    found |= dict(measured(root))
    for name, schema in schemas().items():
        found[FOLDER / "schemas" / f"{name}.json"] = _json(schema)
    for target, table in environments():
        readme = Path("services") / target / "README.md"
        if (root / readme).exists():
            text = (root / readme).read_text("utf-8")
            found[readme] = _MARKED.sub(lambda match, new=table: f"{match[1]}\n{new}\n{match[3]}", text)  # type: ignore[misc]
    return found


def openapi() -> dict[str, Any]:
    """The HTTP API as OpenAPI 3.1."""
    from streamforge.manager.api.app import create_app

    app = create_app(None)  # type: ignore[arg-type]  # described, not served
    described: dict[str, Any] = app.openapi()
    return described


def asyncapi() -> dict[str, Any]:
    """The topics as AsyncAPI 3."""
    from streamforge.manager.describing import asyncapi as described

    return described.document()


def schemas() -> dict[str, dict[str, Any]]:
    """Every message on a topic as JSON Schema."""
    from streamforge.manager.describing import schemas as known

    return known.message_schemas()


def environments() -> Iterator[tuple[str, str]]:
    """The environment table of each service, by the name of its folder."""
    from streamforge import workers
    from streamforge.manager.settings import ManagerSettings
    from streamforge_utils.runtime.environment import variables
    from streamforge_utils.runtime.reference import environment_table, table

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
    parts += ["## queue-manager", _TOKENS, tables.pop("queue-manager").rstrip()]
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

_TOKENS = """\
Tokens open the API to other machines. Without any it listens on loopback only.

| variable | meaning |
|---|---|
| `STREAMFORGE_TOKENS_FILE` | a file with lines `reader:TOKEN` or `operator:TOKEN` |
| `STREAMFORGE_OPERATOR_TOKEN` | one operator's token |
| `STREAMFORGE_READER_TOKEN` | one reader's token |"""


def stale(root: Path, wanted: dict[Path, str]) -> list[Path]:
    """The pages below `root` that are missing, differ from `wanted`, or should not be there."""
    wrong = [path for path, text in wanted.items() if _read(root / path) != text]
    there = {path.relative_to(root) for path in (root / FOLDER).rglob("*") if path.is_file()}
    return sorted([*wrong, *(path for path in there if path not in wanted)])


def main(arguments: list[str] | None = None) -> int:
    """Write the pages, or check them: 1 if one is stale."""
    parser = argparse.ArgumentParser(prog="python -m streamforge.cli.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; name the pages that are stale")
    parser.add_argument("--root", type=Path, default=Path(), help="the checkout")
    given = parser.parse_args(arguments)
    root: Path = given.root
    if not (root / "pyproject.toml").is_file():
        print(f"reference: {root.absolute()} is no checkout: name one with --root", file=sys.stderr)
        return 2
    wanted = pages(root)
    wrong = stale(root, wanted)
    if given.check:
        for path in wrong:
            print(f"reference: {path} is stale: run `make docs`", file=sys.stderr)
        return 1 if wrong else 0
    for path in wrong:
        if path not in wanted:
            (root / path).unlink()
            print(f"reference: removed {path}")
            continue
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(wanted[path], "utf-8")
        print(f"reference: wrote {path}")
    return 0


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False) + "\n"


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
