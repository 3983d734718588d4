"""Where data lies and which exchange it comes from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from streamforge.cli.command_errors import UsageProblem
from streamforge.cli.places import (
    check_origin,
    data_directory,
    default_data_directory,
    exchange_urls,
    known_origin,
    last_choice,
    note_origin,
    wanted_origin,
)
from streamforge.cli.session import Where
from streamforge.manager.origin import Origin
from streamforge_utils.model.errors import ConfigError

HOME = {"HOME": "/home/ann"}


def claimed(data: Path, origin: Origin) -> None:
    """A load from `origin` into the folder was accepted."""
    check_origin(data, origin)
    note_origin(data, origin)


@pytest.mark.parametrize(
    ("environ", "platform", "found"),
    [
        (HOME, "linux", "/home/ann/.local/share/streamforge"),
        ({**HOME, "XDG_DATA_HOME": "/srv/ann"}, "linux", "/srv/ann/streamforge"),
        ({**HOME, "XDG_DATA_HOME": "relative"}, "linux", "/home/ann/.local/share/streamforge"),
        (HOME, "darwin", "/home/ann/Library/Application Support/streamforge"),
    ],
)
def test_the_default_follows_the_platform(environ: dict[str, str], platform: str, found: str) -> None:
    assert default_data_directory(environ, platform) == Path(found)


def test_the_option_goes_before_the_environment_and_that_before_the_default() -> None:
    environ = {**HOME, "STREAMFORGE_DATA_DIR": "/srv/data"}
    assert data_directory(Path("/mine"), environ) == Path("/mine")
    assert data_directory(None, environ) == Path("/srv/data")
    assert data_directory(Path("a/../b"), environ) == Path.cwd() / "b"


def test_an_exchange_is_a_name_or_urls() -> None:
    assert exchange_urls(None, {}) is None
    assert exchange_urls("binance", {"STREAMFORGE_EXCHANGE_URL": "http://other:1"}) is None
    assert exchange_urls(None, {"STREAMFORGE_EXCHANGE_URL": "http://a:1, http://b:2"}) == ("http://a:1", "http://b:2")
    assert exchange_urls("http://a:1,https://b", {}) == ("http://a:1", "https://b")
    for wrong in ("bitstamp", "", "ftp://a", "localhost:9000"):
        with pytest.raises(UsageProblem, match="write binance, test or a URL"):
            exchange_urls(wrong, {})
    with pytest.raises(UsageProblem, match="hold no user or password") as refused:
        exchange_urls("http://joe:sekret99@127.0.0.1:9", {})
    assert "sekret99" not in str(refused.value)


def test_a_folder_keeps_to_the_exchange_of_its_first_load(tmp_path: Path) -> None:
    assert known_origin(tmp_path) is None
    assert last_choice(tmp_path) is None
    claimed(tmp_path, wanted_origin("test", None))
    claimed(tmp_path, wanted_origin("test", None))
    assert known_origin(tmp_path) == "test"
    with pytest.raises(
        UsageProblem, match=r"holds data of the test exchange, not of Binance, .*--data.*--exchange test"
    ):
        claimed(tmp_path, wanted_origin("binance", None))
    assert known_origin(tmp_path) == "test"
    assert [path.name for path in tmp_path.iterdir()] == ["origin.json"]


def test_the_last_choice_of_a_folder_is_what_the_option_has_to_say(tmp_path: Path) -> None:
    claimed(tmp_path, wanted_origin("test", None))
    assert last_choice(tmp_path) == "test"
    claimed(tmp_path, wanted_origin("http://127.0.0.1:4000", ("http://127.0.0.1:4000",)))
    assert (known_origin(tmp_path), last_choice(tmp_path)) == ("test", "http://127.0.0.1:4000")
    for folder, urls, choice in (("a", ("https://x.example", "https://y.example"), "https://x.example,https://y.example"),
                                 ("b", None, None)):  # fmt: skip
        (tmp_path / folder).mkdir()
        claimed(tmp_path / folder, wanted_origin(None, urls))
        assert last_choice(tmp_path / folder) == choice
    with pytest.raises(UsageProblem, match=r"with --exchange https://x\.example,https://y\.example$"):
        claimed(tmp_path / "a", wanted_origin("test", None))


@pytest.mark.parametrize(("origin", "choice"), [("test", "test"), ("binance", None), ("mirror.example.org", None)])
def test_a_note_that_was_written_by_hand_is_enough(tmp_path: Path, origin: str, choice: str | None) -> None:
    (tmp_path / "origin.json").write_text(json.dumps({"exchange": origin}))
    assert (known_origin(tmp_path), last_choice(tmp_path)) == (origin, choice)
    assert Where(data=tmp_path).starting() == f" --data {tmp_path}" + (" --exchange test" if choice else "")


def test_what_goes_on_with_a_workflow_asks_the_exchange_that_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed(tmp_path, wanted_origin("test", None))
    assert Where(data=tmp_path).as_before().exchange == "test"
    assert Where(data=tmp_path, exchange="binance").as_before().exchange == "binance"
    assert Where(server="http://127.0.0.1:1").as_before().exchange is None
    monkeypatch.setenv("STREAMFORGE_EXCHANGE_URL", "http://127.0.0.1:4000")
    assert Where(data=tmp_path).as_before().exchange is None


def test_a_damaged_note_of_the_exchange_says_how_to_mend_it(tmp_path: Path) -> None:
    (tmp_path / "origin.json").write_text("{")
    with pytest.raises(ConfigError, match=r"origin.json is damaged: write .*binance"):
        known_origin(tmp_path)
