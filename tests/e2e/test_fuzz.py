"""Requests made from the API's own description, put to a manager with real bus, store, launcher and exchange.

No answer is a 500, each is what the description says, and nothing is half accepted: an accepted request has its
workflow, a refused one has left nothing behind.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from streamforge.manager.answers import Problem
from streamforge.manager.api.problems import MEDIA_TYPE
from streamforge_utils.adapters.embedded.store.embedded_store import EmbeddedStore
from tests.e2e import rig
from tests.limits import LIMIT_S

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 16
"""Of each operation, and of each of: what its description allows, and what it does not."""
STARTING = ("/queues/start", "/queues/start-pipeline")
KINDS = ("workflow", "code", "idempotency-key")
BODIES = st.fixed_dictionaries(
    {
        "symbol": st.sampled_from(["BTCUSDT", "ethusdt", "NOSUCH", "BTC/USDT"]),
        "time_range": st.sampled_from(["2024-08-01T00:00Z:2024-08-01T00:03Z", "2024-08-01", "2024-13", "2099"]),
    }
)
STARTS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{"type": "api_candles_1m"}, {"type": "api_candles_1h"}, {"type": "api_candles_7m"}]
)
PIPELINES: st.SearchStrategy[list[Any]] = st.sampled_from(
    [
        [{"target": target, "type": "api_candles_1m"} for target in targets]
        for targets in (["loader-api-candles", "arango-candles"], ["loader-api-candles"], ["nobody"])
    ]
)
BOUNDED = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


class States:
    """What the manager has stored, read beside it."""

    def __init__(self, data: Path) -> None:
        self._runner = asyncio.Runner()
        self._store = EmbeddedStore(data / "store")

    def ids(self, kind: str) -> set[str]:
        """The ids of all states of a kind."""

        async def find() -> set[str]:
            return {state.id for state in await self._store.find(kind, limit=100_000)}

        return self._runner.run(find())

    def close(self) -> None:
        """Close the store."""
        self._runner.run(self._store.close())
        self._runner.close()


@pytest.fixture(scope="module")
def managed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Manager]:
    data = tmp_path_factory.mktemp("fuzz") / "data"
    with (
        rig.exchange("--now", "2024-08-10T00:00:00Z") as exchange,
        rig.manager(data, exchange.url, STREAMFORGE_MAX_RUNNING="1") as manager,
    ):
        yield manager
        for status in ("pending", "running"):
            while found := manager.api.get("/queues", params={"status": status, "limit": 1000}).json()["queues"]:
                for workflow in found:
                    manager.api.post(f"/queues/{workflow['queue_id']}/stop")
        rig.eventually(lambda: manager.idle() or None, "every workflow has ended")


def likely(case: Case[Any], drawn: st.DataObject, known: list[str]) -> None:
    """Let most requests get beyond the first look: at a workflow that there is, with a body that could be taken.

    What is drawn does not depend on which workflows there are: hypothesis draws the same again, later.
    """
    if "queue_id" in (case.path_parameters or {}):
        known_one, which = drawn.draw(st.tuples(st.integers(0, 3), st.integers(0, 1 << 16)))
        if known and known_one:
            case.path_parameters["queue_id"] = known[which % len(known)]
    if case.path in STARTING and drawn.draw(st.booleans()):
        more = STARTS if case.path == "/queues/start" else st.builds(lambda steps: {"microservices": steps}, PIPELINES)
        case.body = {**drawn.draw(BODIES), **drawn.draw(more)}
        case.media_type = "application/json"
    if "timeout_s" in (case.query or {}):
        case.query["timeout_s"] = 0.1


def test_no_request_breaks_a_real_manager(managed: rig.Manager) -> None:
    schema = schemathesis.openapi.from_url(f"{managed.api.base_url}/openapi.json")
    states = States(managed.data)
    accepted: set[str] = set()
    removed: set[str] = set()
    asked: Counter[str] = Counter()

    def put(case: Case[Any], drawn: st.DataObject) -> None:
        before = {kind: states.ids(kind) for kind in KINDS}
        likely(case, drawn, sorted(before["workflow"]))
        response = case.call(timeout=LIMIT_S)
        asked[case.operation.label] += 1
        case.validate_response(response, checks=CHECKS)
        if response.status_code >= 400:
            assert response.headers["content-type"] == [MEDIA_TYPE]
            assert set(response.json()) == set(Problem.__struct_fields__)
            assert msgspec.json.decode(response.content, type=Problem).status == response.status_code
        if case.path in STARTING and response.status_code == 202:
            queue_id = response.json()["queue_id"]
            accepted.add(queue_id)
            assert states.ids("workflow") - before["workflow"] <= {queue_id}
            assert managed.show(queue_id)["symbol"] in ("BTCUSDT", "ETHUSDT")
        else:
            assert not any(states.ids(kind) - before[kind] for kind in KINDS), "it was refused, and left something"
        if case.method == "DELETE" and response.status_code == 204:
            removed.add(case.path_parameters["queue_id"])

    operations = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    assert len(operations) > 15
    try:
        for operation in operations:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                strategy = operation.as_strategy(generation_mode=mode)
                try:
                    BOUNDED(given(strategy, st.data())(put))()
                except Unsatisfiable:
                    assert mode is GenerationMode.NEGATIVE, "only what takes no input cannot be given a wrong one"
        assert states.ids("workflow") == accepted - removed
    finally:
        states.close()
    assert set(asked) == {operation.label for operation in operations}
    assert accepted
