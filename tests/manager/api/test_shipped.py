"""The service as it ships: `python -m app.main` in its folder."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from streamforge.manager.manager_settings import ManagerSettings
from streamforge_utils.runtime.environment import variables
from tests.cleanenv import environment
from tests.limits import LIMIT_S
from tests.manager.api.support import OPERATOR, problem
from tests.places import ROOT

FOLDER = ROOT / "services" / "queue-manager"


def test_it_starts_asks_for_a_token_and_ends_in_order(tmp_path: Path) -> None:
    ports = {"STREAMFORGE_PORT": "0", "STREAMFORGE_METRICS_PORT": "0"}
    process = subprocess.Popen(
        [sys.executable, "-m", "app.main"],
        cwd=FOLDER,
        env=environment(STREAMFORGE_DATA_DIR=str(tmp_path), STREAMFORGE_OPERATOR_TOKEN=OPERATOR, **ports),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", said)
        assert found is not None, said
        assert httpx.get(f"{found[0]}/healthz").json() == {"status": "ok"}
        problem(httpx.get(f"{found[0]}/queues"), 401, "unauthorized")
        allowed = httpx.get(f"{found[0]}/queues", headers={"Authorization": f"Bearer {OPERATOR}"})
        assert allowed.json() == {"queues": [], "cursor": None}
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, rest
    assert OPERATOR not in said + rest


def test_its_readme_names_every_setting() -> None:
    text = (FOLDER / "README.md").read_text()
    unused = {"STREAMFORGE_WEIGHT_PER_MINUTE"}  # the manager has a share of its own

    names = {item.name for item in variables(ManagerSettings)} - unused
    assert {name for name in names if f"`{name}`" not in text} == set()
