"""Parameters as options of the command line."""

from __future__ import annotations

import pytest

from streamforge.workers import dummy_service, loader_api_candles
from streamforge_utils.model.errors import InvalidInput
from streamforge_utils.runtime.life.worker_definition import environment_of, help_text

DUMMY, LOADER = dummy_service.DEFINITION, loader_api_candles.DEFINITION


def test_every_parameter_is_an_option() -> None:
    assert environment_of(DUMMY, ["--noop", "--fail-after", "3", "--record-size=10", "--debug"]) == {
        "STREAMFORGE_NOOP": "true",
        "STREAMFORGE_FAIL_AFTER": "3",
        "STREAMFORGE_RECORD_SIZE": "10",
        "STREAMFORGE_DEBUG": "true",
    }
    assert environment_of(DUMMY, ["--simulate-loading=false"]) == {"STREAMFORGE_SIMULATE_LOADING": "false"}
    assert environment_of(LOADER, ["--concurrency", "8"]) == {"STREAMFORGE_CONCURRENCY": "8"}
    assert environment_of(LOADER, []) == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nope"], "'--nope' is no option of dummy-service"),
        (["--concurrency", "8"], "'--concurrency' is no option"),
        (["noop"], "'noop' is no option"),
        (["--noop", "true"], "'true' is no option"),
        (["--rate"], "--rate needs a value: number"),
        (["--debug=1"], "'--debug' is no option"),
    ],
)
def test_what_is_no_option_is_named(arguments: list[str], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        environment_of(DUMMY, arguments)


def test_help_lists_them_all() -> None:
    text = help_text(DUMMY, "app.main [OPTIONS]")
    assert text.startswith("usage: app.main [OPTIONS]\ndummy-service shows whether the bus works")
    for option in ("--debug ", "--simulate-loading ", "--fail-after SECONDS ", "--exit-after SECONDS ", "--noop ",
                   "--imitate VALUE ", "--rate VALUE ", "--record-size BYTES ", "--events VALUE "):  # fmt: skip
        assert f"\n  {option}" in text
