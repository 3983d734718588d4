"""Which exchange the data in a folder are of: told by the store, and before there was that by a note in the folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import cleanenv, storeenv
from tests.e2e import rig
from tests.limits import LIMIT_S

pytestmark = pytest.mark.skipif(not storeenv.embedded(), reason="tests/arango says it of a database")


def refused(data: Path, exchange_url: str) -> str:
    """What queue-manager says that does not begin there."""
    more = {"STREAMFORGE_DATA_DIR": str(data), "STREAMFORGE_EXCHANGE_URL": exchange_url, "STREAMFORGE_PORT": "0"}
    ran = subprocess.run(
        [sys.executable, "-m", "streamforge.manager"],
        env=cleanenv.environment() | more | {"STREAMFORGE_METRICS_PORT": "0"},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert ran.returncode == 2, ran.stderr
    return ran.stderr


def test_queue_manager_keeps_a_folder_to_its_exchange_by_the_store_and_by_an_older_note(
    quiet: rig.Exchange, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    with rig.manager(data, quiet.url) as manager:
        manager.load("BTCUSDT", "api_candles_1h", "2024-08-01")
        manager.kill()
        manager.start()  # nobody waits for a lease there
    mixed = "holds data of the test exchange, not of Binance, and the two are never mixed"
    assert f"{data} {mixed}" in refused(data, "https://data-api.binance.vision")
    older = tmp_path / "older"
    older.mkdir()
    (older / "origin.json").write_text(json.dumps({"exchange": "test", "choice": "test"}))
    assert f"{older} {mixed}" in refused(older, "https://data-api.binance.vision")
