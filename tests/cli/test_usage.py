"""Messages for a person who errs: one sentence that names the input and says what to do, and an exit code."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from streamforge.cli.main import root
from tests.cli.support import COMMAND, TYPE, Cli, Ran
from tests.limits import LIMIT_S

NO_QUEUE = "wf-btcusdt-api_candles_1m-20240801-zzzzzz"


def sentence(ran: Ran, code: int) -> str:
    """The one line on stderr; nothing is on stdout."""
    assert ran.code == code, (ran.code, ran.err)
    assert ran.out == ""
    assert ran.err.count("\n") == 1, ran.err
    assert "Traceback" not in ran.err
    return ran.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--server", "nonsense"], "server 'nonsense' is no address: write http://HOST:PORT"),
        (["--server", "http://u:p@h:1"], "a token goes into STREAMFORGE_TOKEN"),
        (
            ["--server", "http://127.0.0.1:1", "--data", "/tmp/x"],
            "--server and --data name two places: give one of them",
        ),
        (["--token-file", "/nowhere"], "--token-file is for --server"),
        (
            ["--server", "http://127.0.0.1:1", "--token-file", "/nowhere"],
            "token file /nowhere cannot be read: No such file",
        ),
        (
            ["--server", "http://127.0.0.1:1", "--launcher", "kubernetes"],
            "--launcher is for a manager of this command's own",
        ),
    ],
)
def test_contradictions_about_the_place_are_named(cli: Cli, arguments: list[str], message: str) -> None:
    command = ("wait", NO_QUEUE) if "--launcher" in arguments else ("queues",)
    assert message in sentence(cli(*command, *arguments, where=False), 2)


def test_a_cluster_that_cannot_be_used_ends_the_command_and_is_named(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    load = ("load", "BTCUSDT", TYPE, "2024", "--launcher", "kubernetes")
    monkeypatch.setenv("KUBECONFIG", "/nowhere/kubeconfig")
    said = sentence(cli(*load), 2)
    assert "/nowhere/kubeconfig cannot be used" in said
    assert "STREAMFORGE_LAUNCHER=process" in said
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "a-token"}}],
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setattr("streamforge_utils.adapters.kubernetes.api.PATIENCE_S", 0.1)
    assert "the API server of Kubernetes cannot be reached" in sentence(cli(*load), 1)


def test_nobody_at_the_address_is_said_with_what_to_do(cli: Cli) -> None:
    ran = cli("queues", "--server", "http://127.0.0.1:1", where=False)
    assert "no server answers at http://127.0.0.1:1 (Connection refused): start one with `streamforge up`" in sentence(
        ran, 1
    )


@pytest.mark.parametrize(
    "arguments",
    [
        *([name, NO_QUEUE] for name in ("show", "wait", "stop", "retry")),
        ["export", "x"],
        ["coverage", "BTCUSDT", TYPE],
        ["rm", NO_QUEUE, "--yes"],
        ["dlq", "list", NO_QUEUE],
    ],
)
def test_a_folder_that_is_absent_or_of_something_else_is_named_and_stays_so(cli: Cli, arguments: list[str]) -> None:
    nothing = f"nothing was loaded into {cli.data} yet: begin with `streamforge load BTCUSDT"
    assert nothing in sentence(cli(*arguments), 1)
    assert not cli.data.exists()
    cli.data.mkdir()
    (cli.data / "letter.txt").write_text("mine")
    assert nothing in sentence(cli(*arguments), 1)
    assert [path.name for path in cli.data.iterdir()] == ["letter.txt"]


def test_no_workflows_and_no_series_are_an_empty_list(cli: Cli) -> None:
    for command in ("queues", "series"):
        ran = cli(command, "--json")
        assert (ran.code, ran.json, ran.err) == (0, {command: []}, "")
        assert f"nothing was loaded into {cli.data} yet" in cli(command).ok().err
    assert not cli.data.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["show", NO_QUEUE], 1, f"there is no workflow '{NO_QUEUE}': `streamforge queues` lists those that there are"),
        *(
            ([*command.split(), NO_QUEUE], 1, f"there is no workflow '{NO_QUEUE}'")
            for command in ("events", "coverage", "export", "rm --yes", "dlq list")
        ),
        (["show", "../healthz"], 2, "'../healthz' is no name: `streamforge queues` lists the workflows"),
        (["show", ""], 2, "'' is no name"),
        (["show", "x y"], 1, "there is no workflow 'x y'"),
        (
            ["export", "nope"],
            1,
            "'nope' is neither a queue_id nor a collection (there are btcusdt_api_candles_1m_2024_08_01)",
        ),
        (["export", "BTCUSDT"], 1, "[TIME_RANGE]; of a symbol, `streamforge series BTCUSDT --data "),
        (["export", "btcusdt_api_candles"], 1, "(did you mean btcusdt_api_candles_1m_2024_08_01?): write QUEUE_ID,"),
        (
            ["export", "ETHUSDT", TYPE, "2024-08-01"],
            1,
            "nothing of it was loaded yet (or is BTCUSDT meant, of which something was?). Load it with `streamforge "
            f"load ETHUSDT {TYPE} 2024-08-01 --data ",
        ),
        (["ping", NO_QUEUE], 1, "no manager runs on"),
        (["stop", NO_QUEUE, "--detach"], 1, "no manager runs on"),
    ],
)
def test_what_is_not_there_is_named(loaded: Cli, arguments: list[str], code: int, message: str) -> None:
    assert message in sentence(loaded(*arguments), code)


def test_an_unexpected_fault_is_a_sentence_and_with_debug_a_traceback(
    loaded: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr("streamforge.cli.terminal.table", broken)
    ran = loaded("targets", where=False)
    assert ran.code == 1
    assert ran.err == ("streamforge: unexpected ZeroDivisionError: of ours; run it again with --debug to see where\n")
    assert "Traceback" in loaded("targets", "--debug", where=False).err


SLOW = ("aiohttp", "starlette", "fastapi", "uvicorn", "uvloop", "pyarrow", "confluent_kafka")


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("arguments", "shown", "more"),
    [
        (
            ["--version"],
            "streamforge ",
            ("asyncio", "streamforge.manager", "streamforge.cli.commands.load_commands", "rich"),
        ),
        (["--help"], "--version", ("asyncio", "streamforge.manager", "streamforge.cli.commands.load_commands")),
        (["load", "--help"], "TIME_RANGE", ("streamforge.manager.api", "streamforge.wiring")),
    ],
)
def test_what_only_tells_imports_nothing_slow(arguments: list[str], shown: str, more: tuple[str, ...]) -> None:
    code = (
        f"import sys; from streamforge.cli.main import main; main({arguments}); "
        f"print([name for name in {(*SLOW, *more)} if name in sys.modules], file=sys.stderr)"
    )
    ran = subprocess.run([COMMAND[0], "-c", code], capture_output=True, text=True, timeout=LIMIT_S, check=True)
    assert ran.stderr == "[]\n"
    assert shown in ran.stdout


def test_without_a_command_the_help_names_every_one(cli: Cli) -> None:
    ran = cli(where=False)
    assert ran.code == 2
    assert "Load a time range of a symbol" in ran.out
    for name in ("load", "queues", "show", "events", "stop", "ping", "retry", "rm", "coverage", "export", "dlq"):
        assert f" {name} " in ran.out
    for name in ("up", "doctor", "exchange", "targets", "schemas", "kafka"):
        assert f" {name} " in ran.out


def test_the_version_is_that_of_the_package(cli: Cli) -> None:
    from importlib.metadata import version

    assert cli("--version", where=False) == Ran(0, f"streamforge {version('streamforge-market-data')}\n", "")


def test_a_folder_of_a_newer_version_is_refused_by_name(cli: Cli, tmp_path: Path) -> None:
    cli.data.mkdir()
    (cli.data / "format.json").write_text('{"format": 99}')
    for command in (["queues"], ["load", "BTCUSDT", TYPE, "2024-08-01"]):
        assert "has format 99; this version of StreamForge knows up to" in sentence(cli(*command), 2)


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["load", "BTCUSDT", TYPE, "2024-13"], 2, "'2024-13' is no date"),
        (["load", "NOSUCH", TYPE, "2024-08-01"], 2, "NOSUCH is not a symbol of the test exchange"),
        (["load", "BTCUSDT", TYPE], 2, "a range is missing: write SYMBOL TYPE TIME_RANGE, or --since last"),
        (["load", "BTCUSDT", TYPE, "2024-08-01", "--detach"], 1, "no manager runs on"),
        (["show", NO_QUEUE], 1, "nothing was loaded into"),
        (["export", NO_QUEUE], 2, "--json tells about a file: name one with --output"),
    ],
)
def test_a_program_is_told_of_a_refusal_on_stdout(cli: Cli, arguments: list[str], code: int, message: str) -> None:
    ran = cli(*arguments, "--json")
    told = ran.json
    assert (ran.code, told["status"], told["exit_code"]) == (code, "error", code)
    assert message in told["error"]
    assert ran.err.endswith(f": {told['error']}\n"), "a person is told the same"
    assert sorted(told) == ["error", "exit_code", "status"]


@pytest.mark.parametrize("command", ["targets", "schemas"])
def test_targets_and_schemas_take_the_common_options(cli: Cli, command: str) -> None:
    assert cli(command, "--json").ok().json == cli(command, "--json", where=False).ok().json
    assert not cli.data.exists()
    both = cli(command, "--server", "http://127.0.0.1:1")
    assert (both.code, both.out) == (2, "")
    assert "--server and --data name two places" in both.err


SWAPPED = "the order is SYMBOL TYPE TIME_RANGE: write BTCUSDT api_candles_1m 2024"

NO_PLACE = ("laod", "dlq", "exchange", "schemas")
REFUSED = [
    # swapped, missing and too many words
    ("load api_candles_1m BTCUSDT 2024", SWAPPED),
    ("load BTCUSDT 2024 api_candles_1m", SWAPPED),
    ("load 2024 BTCUSDT api_candles_1m", SWAPPED),
    ("export api_candles_1m BTCUSDT 2024", SWAPPED),
    ("coverage api_candles_1m BTCUSDT", "the order is SYMBOL TYPE: write BTCUSDT api_candles_1m"),
    ("coverage BTCUSDT -30d", "a type is missing: write SYMBOL TYPE TIME_RANGE, as in BTCUSDT api_candles_1m -30d"),
    ("export BTCUSDT 2024", "a type is missing: write SYMBOL TYPE TIME_RANGE, as in BTCUSDT api_candles_1m 2024"),
    ("load", "missing argument 'SYMBOL' (see `streamforge load --help`)"),
    ("load BTCUSDT api_candles_1m", "a range is missing: write SYMBOL TYPE TIME_RANGE, or --since last"),
    (
        "load BTCUSDT api_candles_1m 2024-01 2024-02",
        "a range is one word, START:END: did you mean 2024-01:2024-02? (see `streamforge load --help`)",
    ),
    (
        "export BTCUSDT api_candles_1m 2024-01 2024-02",
        "a range is one word, START:END: did you mean 2024-01:2024-02?",
    ),
    ("show a b", "too many arguments: b (see `streamforge show --help`)"),
    ("coverage a b c d", "write QUEUE_ID or SYMBOL TYPE [TIME_RANGE]"),
    # words that are not known
    ("load BTCUSDT 1m 2024", "type '1m' is not known: did you mean api_candles_1m?"),
    ("load BTCUSDT klines_1h 2024", "type 'klines_1h' is not known: did you mean api_candles_1h?"),
    ("load BTC/USDT api_candles_1m 2024", "symbol 'BTC/USDT' holds characters that no symbol has ('/'): did you mean"),
    ("laod", "no such command 'laod'. Did you mean 'load'? (see `streamforge --help`)"),
    ("dlq lst", "no such command 'lst'. Did you mean 'list'? (see `streamforge dlq --help`)"),
    ("load BTCUSDT api_candles_1m 2024 --agian", "no such option: --agian (Possible options: --again"),
    ("queues --status finish", "status 'finish' is not known: did you mean finished?"),
    ("queues --status xyz", "status 'xyz' is not known: choose from pending, running, stopping, finished,"),
    ("queues --status done", "status 'done' is not known: choose from pending, running"),
    ("load BTCUSDT api_candles_7m 2024", "type 'api_candles_7m' is not known: choose one of api_candles_1s"),
    ("export BTCUSDT candles", "type 'candles' is not known"),
    ("load 'BTC USDT' api_candles_1m 2024", "symbol 'BTC USDT' holds characters that no symbol has (' '): did you"),
    ("load '' api_candles_1m 2024", "symbol '' must have 1 to 60 characters"),
    ("load BTCUSDT api_candles_1m 2024 --exchange kraken", "exchange 'kraken' is not known: write binance, test"),
    (
        "coverage btcusdt",
        "'btcusdt' is no queue_id: write QUEUE_ID or SYMBOL TYPE [TIME_RANGE]; of a symbol, `streamforge series BTC",
    ),
    ("export a b c d", "write QUEUE_ID, COLLECTION, or SYMBOL TYPE [TIME_RANGE]"),
    ("schemas cande", "there is no schema 'cande': did you mean candle?"),
    (
        "export x -o a.txt",
        "output a.txt: its suffix .txt names no format: let it end in .csv, .csv.gz, .jsonl, .jsonl.gz",
    ),
    # ranges
    ("load BTCUSDT api_candles_1m 30d", "time_range '30d' is not understood: did you mean -30d?"),
    ("load BTCUSDT api_candles_1m -5x", "time_range '-5x': '5x' has no unit that is known: s, m (minutes), h, d, w,"),
    ("load BTCUSDT api_candles_1m 2024-01..2024-02", "time_range '2024-01..2024-02' is not understood: did you mean"),
    ("load BTCUSDT api_candles_1m 2190:", "time_range '2190:' starts in the future (now is 20"),
    ("load BTCUSDT api_candles_1m ''", "time_range '' is not understood: write 2024, 2024-08,"),
    ("coverage BTCUSDT api_candles_1m -1d:-2d", "time_range '-1d:-2d': the end is not after the start; did you mean"),
    ("load BTCUSDT api_candles_1m 2024-13", "time_range '2024-13': '2024-13' is no date: month must be in 1..12"),
    ("load BTCUSDT api_candles_1m tomorrow", "time_range 'tomorrow' is not understood: write 2024, 2024-08,"),
    ("load BTCUSDT api_candles_1m 2024-08-02:2024-08-01", "the end is not after the start"),
    # values of options
    ("queues --limit 0", "--limit must be between 1 and 100000, not '0'"),
    ("load BTCUSDT api_candles_1m 2024 --timeout 0", "--timeout must be at least 0.1, not '0' (see `streamforge load"),
    ("load BTCUSDT api_candles_1m 2024 --timeout soon", "--timeout must be a number, not 'soon'"),
    ("load BTCUSDT api_candles_1m 2024 --timeout nan", "--timeout must be a number, not 'nan'"),
    ("exchange --port", "option '--port' needs a value after it"),
    (
        "load BTCUSDT api_candles_1m 2024 --launcher docker",
        "--launcher must be one of process, kubernetes, not 'docker'",
    ),
    ("ping x --wait 31", "--wait must be between 0.1 and 30, not '31'"),
    ("queues --limit 1.5", "--limit must be a whole number, not '1.5'"),
    ("exchange --port 99999", "--port must be between 0 and 65535, not '99999'"),
    ("exchange --speed 1e9", "--speed must be between 0 and 1000000, or inf"),
    ("exchange --fault fire", "fault 'fire' is not known: choose one of 429"),
    ("exchange --hole BTCUSDT", "hole 'BTCUSDT' is not understood: write SYMBOL@START:END"),
    ("exchange --replay /nowhere", "replay /nowhere is no folder"),
    ("exchange --replay stored", "--replay stored serves a database, and ARANGO_URL names none"),
    ("exchange --now x", "instant 'x' is not ISO 8601, e.g. 2024-08-01T12:00:00Z"),
    ("queues --symbol ''", "--symbol is empty: give it a value, or leave it out"),
    ("queues --data=", "--data is empty: give it a value, or leave it out"),
    ("queues --server ''", "--server is empty: give it a value, or leave it out"),
]


@pytest.mark.parametrize(("command", "message"), REFUSED, ids=[command for command, _ in REFUSED])
def test_a_refusal_says_what_is_wrong_and_what_to_write(cli: Cli, command: str, message: str, tmp_path: Path) -> None:
    words = shlex.split(command)
    ran = cli(*words, where=words[0] not in NO_PLACE and not {"--data=", "--exchange"} & {*words})
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert ran.err.count("\n") == 1
    assert not re.search(r"Value error|Input should|Malformed|Traceback|None", ran.err)
    assert not cli.data.exists(), "nothing is made for a command that is refused"


@pytest.mark.e2e
def test_an_unknown_symbol_is_named_with_the_one_that_was_meant(cli: Cli) -> None:
    ran = cli("load", "BTCUSD", TYPE, "2024-08-01")
    assert ran.code == 2
    assert "BTCUSD is not a symbol of the test exchange: did you mean BTCUSDT?\n" in ran.err
    ran = cli("load", "NOSUCH", TYPE, "2024-08-01")
    assert "NOSUCH is not a symbol of the test exchange: `streamforge symbols` lists what it has\n" in ran.err


def commands() -> list[tuple[str, ...]]:
    """Every command and group, as it is typed."""
    found: list[tuple[str, ...]] = [()]
    groups: list[tuple[tuple[str, ...], Any]] = [((), root)]
    while groups:
        path, group = groups.pop()
        for name, command in (group.imported() if hasattr(group, "imported") else {}).items():
            found.append((*path, name))
            groups.append(((*path, name), command))
    return sorted(found)


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_help_names_words_as_they_are_typed(cli: Cli, command: tuple[str, ...]) -> None:
    out = cli(*command, "--help", where=False).ok().out
    usage = next(line for line in out.splitlines() if "Usage:" in line)
    assert f"streamforge {' '.join(command)}".strip() in usage
    assert not re.search(r"[{}]|<(bool|str|int|float|path|list\[str\])>|\[default: \(", out)


def test_help_shows_a_default_without_parentheses(cli: Cli) -> None:
    told = " ".join(cli("load", "--help", where=False).ok().out.replace("│", " ").split())
    assert "[default: STREAMFORGE_EXCHANGE_URL, else the one that the data came from, else binance]" in told


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("ftp", "--source must be one of auto, archive, rest, not 'ftp'"),
        ("archive", "there is no archive here: name its address in STREAMFORGE_ARCHIVE_URL where the manager is "),
    ],
)
def test_a_source_that_is_none_or_not_there_is_refused(cli: Cli, source: str, message: str) -> None:
    ran = cli("load", "BTCUSDT", TYPE, "2024-08-01", "--source", source)
    assert (ran.code, message in ran.err, "Traceback" in ran.err) == (2, True, False), ran.err
