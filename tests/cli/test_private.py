"""`up` prints the link of the web UI; with `--private`, one that nobody else on the machine has."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from tests.cli.support import Cli, process, ready
from tests.limits import LIMIT_S

pytestmark = pytest.mark.e2e


def test_a_private_manager_serves_who_has_its_link(cli: Cli, exchange_url: str) -> None:
    options = ("--data", str(cli.data), "--exchange", exchange_url, "--port", "0")
    with process("up", *options, "--private", "--json") as started:
        told = ready(started)
        link = urlsplit(told["ui"])
        [token] = parse_qs(link.fragment)["token"]
        assert told["ui"] == f"{told['url']}/ui#token={token}"
        with httpx.Client(base_url=told["url"], timeout=LIMIT_S) as client:
            assert client.get("/queues").status_code == 401
            client.headers["Authorization"] = f"Bearer {token}"
            assert client.get("/access").json()["role"] == "operator"
        assert "STREAMFORGE_TOKEN" in cli("queues", "--data", str(cli.data), where=False).err
    with process("up", *options, "--private", "--json") as started:
        assert ready(started)["ui"].rpartition("=")[2] != token
    with process("up", *options, "--json") as started:
        told = ready(started)
        assert told["ui"] == f"{told['url']}/ui"
        # Its workers are many, and go on for long: they tell their progress no oftener than those of any manager.
        settings = httpx.get(f"{told['url']}/health", timeout=LIMIT_S).json()["settings"]
        [beat] = [one for one in settings if one["name"] == "STREAMFORGE_HEARTBEAT_SECONDS"]
        assert (beat["value"], beat["origin"], beat["default"]) == (None, "default", "2")
