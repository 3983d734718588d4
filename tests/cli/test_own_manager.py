"""The manager inside a command: what it logs, and how."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
import structlog

from streamforge.cli.own_manager import HEARTBEAT_S, configure_logs
from streamforge_utils.model.errors import ConfigError
from tools.reference.settings_page import settings_page

KEY = "k3y-of-nobody"


def logged(
    capsys: pytest.CaptureFixture[str], *, quiet: bool = False, debug: bool = False, **environ: str
) -> list[str]:
    """The lines that one message of each kind leaves."""
    configure_logs(debug=debug, quiet=quiet, environ=environ)
    log = structlog.get_logger("x")
    log.debug("found", key=KEY)
    log.info("seen", key=KEY)
    log.warning("late", key=KEY)
    return capsys.readouterr().err.splitlines()


def test_lines_have_the_form_that_the_settings_ask_for_and_utc_times(capsys: pytest.CaptureFixture[str]) -> None:
    [line] = logged(capsys, STREAMFORGE_LOG_FORMAT="json")
    told = json.loads(line)
    assert (told["event"], told["level"], told["key"]) == ("late", "warning", KEY)
    assert told["timestamp"].endswith("Z")
    assert abs((datetime.now(UTC) - datetime.fromisoformat(told["timestamp"])).total_seconds()) < 600
    [line] = logged(capsys, STREAMFORGE_LOG_FORMAT="console")
    assert f"key={KEY}" in line
    assert line.split(" ")[0].endswith("Z")
    [line] = logged(capsys)  # no terminal
    assert json.loads(line)["event"] == "late"


@pytest.mark.parametrize("quiet", [True, False])
def test_the_setting_shows_all_as_the_option_does(capsys: pytest.CaptureFixture[str], quiet: bool) -> None:
    assert len(logged(capsys, quiet=quiet, STREAMFORGE_DEBUG="true")) == 3
    assert len(logged(capsys, quiet=quiet, debug=True)) == 3
    assert len(logged(capsys, quiet=quiet)) == (0 if quiet else 1)


def test_secrets_of_the_settings_are_in_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    for form in ("json", "console"):
        assert KEY not in "".join(
            logged(capsys, STREAMFORGE_LOG_FORMAT=form, BINANCE_API_KEY=KEY, STREAMFORGE_DEBUG="1")
        )


def test_a_form_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="STREAMFORGE_LOG_FORMAT: 'xml'"):
        configure_logs(debug=False, quiet=True, environ={"STREAMFORGE_LOG_FORMAT": "xml"})


def test_the_settings_page_tells_how_often_its_workers_speak() -> None:
    assert f"every {HEARTBEAT_S} s (of `up` every 2 s) unless `STREAMFORGE_HEARTBEAT_SECONDS`" in settings_page()
