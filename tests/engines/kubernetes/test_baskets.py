"""A live batch whose loaders are one Job: one is stopped, one handed over, then the manager and the pod are killed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from streamforge.manager.__main__ import main
from streamforge.manager.engine.execution import basket_gathering
from tests.e2e import rig
from tests.e2e.rig import Json, eventually, latest
from tests.e2e.test_baskets import assert_whole, proven_beyond, proven_ids, workflows
from tests.engines.kubernetes.jobs import Namespace
from tests.engines.kubernetes.kubelet import faults
from tests.engines.kubernetes.rest import Object

LIMIT_S = 600.0
LOADER = "loader-ws-trades"
SYMBOLS = ["BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT"]
# No member is ended by force, which would end the others, however slow the machine.
SETTINGS = {
    "STREAMFORGE_COMPARE_SECONDS": "0.5",
    "STREAMFORGE_STOP_SECONDS": "600",
    "STREAMFORGE_LIVE_STOP_SECONDS": "900",  # its loaders have 0.7 of that
}


@pytest.fixture(scope="module")
def live_exchange() -> Iterator[rig.Exchange]:
    with rig.exchange("--seed", "7", "--trades", "240", "--no-limits") as found:
        yield found


def until_all(manager: rig.Manager, symbols: Sequence[str], what: str, holds: Callable[[Json], bool]) -> dict[str, int]:
    """What is proven of each, once all are so."""

    def there() -> dict[str, int] | None:
        found = {symbol: one for symbol, one in workflows(manager).items() if symbol in symbols}
        return proven_ids(found) if len(found) == len(symbols) and all(map(holds, found.values())) else None

    return eventually(there, what, LIMIT_S, manager.log)


def attempts(manager: rig.Manager) -> dict[str, int]:
    """The number of each loader's latest attempt."""
    found = workflows(manager).items()
    return {symbol: latest(manager.show(one["queue_id"]), LOADER)["number"] for symbol, one in found}


def is_handed_over(workflow: Json) -> bool:
    loader = rig.step(workflow, LOADER)
    return loader["handover"] is None and loader["attempts"][-1]["number"] == 2


def with_members(namespace: Namespace) -> dict[str, Object]:
    """The Jobs with several members, by how many they have."""
    label = "streamforge.io/members"
    return {labels[label]: job for job in namespace.jobs() if label in (labels := job["metadata"]["labels"])}


@pytest.mark.long
def test_a_live_batch_in_one_job_is_proven_over_a_stop_a_handover_and_two_kills(
    namespace: Namespace, settings: dict[str, str], live_exchange: rig.Exchange, folder: Path
) -> None:
    with rig.manager(folder / "data", live_exchange.url, module=__name__, **settings, **SETTINGS) as manager:
        answer = manager.api.post("/batches", json={"symbols": SYMBOLS, "type": "ws_trades"})
        assert answer.status_code == 202, answer.text
        proven = until_all(manager, SYMBOLS, "all are live", proven_beyond({}))
        assert list(with_members(namespace)) == ["4"]
        basket = with_members(namespace)["4"]["metadata"]["name"]
        (pod,) = namespace.pods(basket)
        assert not [one for one in namespace.jobs() if one["metadata"]["name"].startswith(f"job-{LOADER}")]

        alone, others = SYMBOLS[1], [SYMBOLS[0], *SYMBOLS[2:]]
        manager.post(f"/queues/{workflows(manager)[alone]['queue_id']}/stop")
        stopped = manager.wait(workflows(manager)[alone]["queue_id"], limit_s=LIMIT_S)
        assert stopped["status"] == "finished", manager.story(stopped["queue_id"])
        assert_whole(manager, stopped)
        assert latest(stopped, LOADER)["exit_code"] == 0

        handed = SYMBOLS[2]
        queue_id = workflows(manager)[handed]["queue_id"]
        manager.post(f"/queues/{queue_id}/handover")
        manager.until(queue_id, "it is handed over", is_handed_over, limit_s=LIMIT_S)
        once = dict.fromkeys(SYMBOLS, 1) | {handed: 2}
        manager.kill()
        manager.start()
        proven = until_all(manager, others, "the others go on with another manager", proven_beyond(proven))
        assert workflows(manager)[handed]["live"]["backfilled"] == 0
        assert attempts(manager) == once
        (still,) = namespace.pods(basket)
        assert still["metadata"]["uid"] == pod["metadata"]["uid"]

        namespace.fault(still, faults.ending(137))
        again = dict.fromkeys(SYMBOLS, 2) | {alone: 1}
        eventually(lambda: True if attempts(manager) == again else None, "they begin again", LIMIT_S, manager.log)
        until_all(manager, others, "they go on", proven_beyond(proven))
        assert sorted(with_members(namespace)) == ["2", "4"]

        manager.post(f"/batches/{answer.json()['batch_id']}/stop")
        for symbol in others:
            workflow = manager.wait(workflows(manager)[symbol]["queue_id"], limit_s=LIMIT_S)
            assert workflow["status"] == "finished", manager.story(workflow["queue_id"])
            assert_whole(manager, workflow)
            (loader,) = [step for step in workflow["steps"] if step["target"] == LOADER]
            assert [one["exit_code"] for one in loader["attempts"]] == ([0, 0] if symbol == handed else [None, 0])


if __name__ == "__main__":
    # Of all four together there is one, however slow the machine.
    basket_gathering.GATHER_S = LIMIT_S
    sys.exit(main())
