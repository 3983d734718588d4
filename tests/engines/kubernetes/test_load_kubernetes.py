"""`streamforge load --launcher kubernetes`: the command runs its own manager, whose workers are Jobs of the cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e import rig
from tests.engines.kubernetes import launchers, managers
from tests.engines.kubernetes.cluster import Cluster

pytestmark = pytest.mark.timeout(300)


def test_it_loads_a_day_by_jobs_and_says_what_may_not_be_reached(
    kube_cluster: Cluster, kube_namespace: str, exchange: rig.Exchange, tmp_path: Path
) -> None:
    account = launchers.manager_account(kube_cluster, kube_namespace, tmp_path / "kubeconfig")
    with launchers.shared_folder() as folder:
        settings = managers.settings(kube_cluster, kube_namespace, kubeconfig=account)
        del settings["STREAMFORGE_LAUNCHER"]  # the option says it
        command = [sys.executable, "-m", "streamforge.cli", "load", "BTCUSDT", "api_candles_1m", "2024-08-01"]
        where = ["--launcher", "kubernetes", "--data", str(folder / "data"), "--exchange", exchange.url, "--json"]
        done = subprocess.run(
            [*command, *where],
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **rig.IMPATIENT, **settings},
            capture_output=True,
            text=True,
            timeout=200,
        )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["status"], found["records_expected"], found["records_stored"]) == ("finished", 1440, 1440)
    code = found["queue_id"][-6:]
    jobs = {job["metadata"]["name"] for job in managers.jobs(kube_cluster, kube_namespace)}
    assert jobs == {f"job-{target}-btcusdt-{code}" for target in ("arango-candles", "loader-api-candles")}
    assert f"careful: bus and store are the embedded ones in {folder / 'data'}, and pods elsewhere" in done.stderr
