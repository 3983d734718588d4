"""The book of a past moment of a live workflow, and its diffs, over HTTP: those of the exchange."""

from __future__ import annotations

from streamforge_utils.model.timeranges import iso_ms
from tests.e2e import rig
from tests.e2e.stored_books import assert_equal, start
from tests.e2e.test_live_books import exchange as exchange
from tests.e2e.test_live_books import manager as manager
from tests.e2e.test_live_books import verified


def test_the_book_of_a_past_moment_is_the_exchanges_and_all_diffs_are_exported(
    exchange: rig.Exchange, manager: rig.Manager
) -> None:
    queue_id = start(manager)
    first_ms = verified(manager, queue_id)["live"]["proven_through_ms"]
    last_ms = verified(manager, queue_id, first_ms + 1500)["live"]["proven_through_ms"]
    workflow = manager.stopped(queue_id)
    for at_ms in (first_ms, (first_ms + last_ms) // 2, last_ms):
        book = manager.api.get("/books/BTCUSDT", params={"at": iso_ms(at_ms), "limit": "all"}).json()
        assert (book["trust"], book["why"], book["verdict"]) == ("verified", None, "stored")
        assert book["time_ms"] <= at_ms
        assert_equal(exchange, "BTCUSDT", book["last_update_id"], (book["bids"], book["asks"]))
    outside = manager.api.get("/books/BTCUSDT", params={"at": iso_ms(first_ms - 86_400_000)})
    assert outside.status_code == 404
    assert "(stopped): choose a moment between" in outside.json()["detail"]
    diffs = manager.records(workflow["collection"], symbol="BTCUSDT", type="ws_orderbook")
    assert len(diffs) == workflow["progress"]["records_stored"]
