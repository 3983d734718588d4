"""The screens of dead letters in a browser, before a real manager whose worker has refused real messages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pytest
from playwright.sync_api import Page, expect

from streamforge_utils.ports.bus import Message
from tests.e2e import bus, rig
from tests.e2e.test_topics import make
from tests.ui.conftest import LOOKS, Opened, apart, replaced, width_of
from tests.ui.test_screens import confirmed, seen, url_of, violations

RLO = "\u202e"
SCRIPT = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
MEGABYTE = b'["' + b"<b>" * 300_000 + b'"]'
BAD = [
    SCRIPT.encode(),
    f"{RLO}gnp.exe".encode(),
    b"\xff\xfe\x00<b>",
    b"",
    MEGABYTE,
    b"[" * 5000 + b"]" * 5000,
    b'{"n":12345678901234567890,"n":1}',
    b'{"n":"<u>seven</u>"}',
]
SCHEMA = {"properties": {"n": {"type": "integer"}}}
KEY = f"<i>k</i>{RLO}".encode()


def refused(manager: rig.Manager, topic: str, values: Sequence[bytes]) -> str:
    """A workflow that has finished, whose sink has refused these messages of the topic."""
    apart(lambda: make(manager.data, topic))
    apart(lambda: bus.send(manager.data, topic, [Message(KEY, value) for value in values]))
    asked = {"topic": topic, "json_schema": SCHEMA, "labels": {"of": "letters"}}
    answer = manager.api.post("/queues/start-topic", json=asked)
    assert answer.status_code == 202, answer.text
    queue_id = str(manager.finished(answer.json()["queue_id"])["queue_id"])
    assert waiting(manager, queue_id) == len(values)
    return queue_id


def waiting(manager: rig.Manager, queue_id: str) -> int:
    return int(manager.api.get(f"/queues/{queue_id}/dlq?limit=1").raise_for_status().json()["outstanding"])


def mend(manager: rig.Manager, queue_id: str, topic: str, *offsets: int) -> None:
    """Let letters wait whose cause is gone."""
    headers = {"reason": "the key 'k' is not legal: it was", "topic": topic, "partition": "0", "attempt": "1"}
    messages = [
        Message(None, b'{"n":%d}' % offset, tuple((name, text.encode()) for name, text in of.items()))
        for offset in offsets
        for of in [{**headers, "offset": str(offset), "time": "1722470400000"}]
    ]
    apart(lambda: bus.send(manager.data, f"{queue_id}-data-dlq", messages))


@pytest.fixture(scope="module")
def manager(exchange: rig.Exchange, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Manager]:
    """A manager that these tests share."""
    with rig.manager(tmp_path_factory.mktemp("letters") / "data", exchange.url) as found:
        yield found


@pytest.fixture(scope="module")
def hostile(manager: rig.Manager) -> str:
    """A workflow with dead letters that nobody replays."""
    return refused(manager, "orders", BAD)


def rows(page: Page, count: int) -> None:
    """The page lists so many letters."""
    expect(page.get_by_role("button", name=re.compile("^(Show|Hide):"))).to_have_count(count)


def test_without_letters_it_says_so_and_what_to_do(manager: rig.Manager, opened: Opened) -> None:
    page = opened(url_of(manager), "/dead-letters")
    expect(page.get_by_role("heading", name="No workflow has dead letters")).to_be_visible()
    expect(page.get_by_text("streamforge dlq list QUEUE_ID")).to_be_visible()
    page.goto(f"{url_of(manager)}/ui/dead-letters/wf-none-json-20240801-abc123")
    expect(page.get_by_role("alert")).to_contain_text("wf-none-json-20240801-abc123")
    expect(page.get_by_role("alert")).to_contain_text("What to do:")


def test_hostile_letters_are_text_and_all_of_them_is_seen(manager: rig.Manager, hostile: str, opened: Opened) -> None:
    page = opened(url_of(manager), f"/dead-letters/{hostile}")
    rows(page, len(BAD))
    for button in page.get_by_role("button", name=re.compile("^Show:")).all()[::-1]:
        button.click()
    shown = page.get_by_role("group", name=re.compile("^Show the record of orders:0:"))
    expect(shown).to_have_count(len(BAD) - 1)
    texts = [re.sub(r"\s+", " ", text) for text in shown.all_inner_texts()]
    assert texts[0] == SCRIPT
    assert texts[1] == "\\u202egnp.exe"
    assert texts[2].startswith("000000 ff fe 00 3c 62 3e")
    assert texts[3] == MEGABYTE[:4096].decode()
    assert texts[4].startswith("[[[[")
    assert texts[5] == '{ "n": 12345678901234567890, "n": 1 }'
    assert texts[6] == '{ "n": "<u>seven</u>" }'
    main = page.get_by_role("main")
    expect(main).to_contain_text("Empty: it has no value")
    expect(main).to_contain_text("The first 4,096 of 900,004 bytes.")
    expect(main).to_contain_text("<i>k</i>\\u202e")
    expect(main).to_contain_text("does not fit the schema")
    assert RLO not in main.inner_text()
    assert page.locator("main :is(img, script, i, u)").count() == 0
    assert "owned" not in page.title()
    assert page.evaluate("document.querySelectorAll('*').length") < 1000
    assert width_of(page) <= 1280
    page.reload()
    expect(shown).to_have_count(len(BAD) - 1)


def test_filters_are_in_the_address_and_the_overview_leads_there(
    manager: rig.Manager, hostile: str, opened: Opened
) -> None:
    page = opened(url_of(manager), "/dead-letters")
    row = page.get_by_role("row").filter(has_text=hostile)
    expect(row).to_contain_text(f"not a record: {len(BAD) - 1}")
    expect(row.get_by_role("cell", name=str(len(BAD)), exact=True)).to_be_visible()
    row.get_by_role("link", name="does not fit the schema: 1").click()
    expect(page).to_have_url(re.compile(rf"/dead-letters/{hostile}\?code=schema-unmet$"))
    rows(page, 1)
    expect(page.get_by_text("1 of them fits the filters")).to_be_visible()
    page.get_by_label("Text in the reason").fill("nothing like it")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="No dead letter fits these filters")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="No dead letter fits these filters")).to_be_visible()
    expect(page.get_by_text("0 of them fit the filters")).to_be_visible()
    expect(page.get_by_text(f"{len(BAD)} dead letters wait")).to_be_visible()
    page.go_back()
    rows(page, 1)
    page.get_by_role("link", name="Remove all filters").click()
    rows(page, len(BAD))
    page.get_by_role("link", name=hostile).click()
    expect(page).to_have_url(re.compile(f"/workflows/{hostile}$"))
    page.get_by_role("link", name=f"{len(BAD)} dead letters").click()
    rows(page, len(BAD))


def test_one_is_replayed_then_many_then_all_and_what_came_back_is_told(manager: rig.Manager, opened: Opened) -> None:
    queue_id = refused(manager, "parcels", [b"no JSON %d" % n for n in range(60)])
    mend(manager, queue_id, "parcels", 1000, 1001, 1002)
    page = opened(url_of(manager), f"/dead-letters/{queue_id}?code=store-refused")
    rows(page, 3)
    expect(page.get_by_role("button", name="Replay 0 chosen")).to_have_accessible_description("None is chosen.")
    page.get_by_role("checkbox", name="Choose parcels:0:1001").click()
    replay(page, "Replay 1 chosen", "Replay 1 dead letter?", queue_id)
    expect(page.get_by_text("Replayed: 1 stored, 0 came back.")).to_be_visible()
    rows(page, 2)
    assert waiting(manager, queue_id) == 62

    page.goto(f"{url_of(manager)}/ui/dead-letters/{queue_id}")
    rows(page, 50)
    page.get_by_role("checkbox", name="Choose parcels:0:7", exact=True).click()
    page.get_by_role("link", name="Next page").click()
    rows(page, 12)
    page.get_by_role("checkbox", name="Choose parcels:0:1000", exact=True).click()
    replay(page, "Replay 2 chosen", "Replay 2 dead letters?", queue_id)
    expect(page.get_by_text("Replayed: 1 stored, 1 came back.")).to_be_visible()
    expect(page.get_by_role("listitem").filter(has_text="not a record: 1")).to_contain_text("it is no JSON")
    assert waiting(manager, queue_id) == 61

    replay(page, "Replay all 61", "Replay 61 dead letters?", queue_id)
    expect(page.get_by_text("Replayed: 1 stored, 60 came back.")).to_be_visible()
    assert waiting(manager, queue_id) == 60
    stored = manager.records(manager.show(queue_id)["collection"])
    assert sorted(one["n"] for one in stored) == [1000, 1001, 1002]


def test_all_of_a_workflow_are_replayed_on_its_own_screen(manager: rig.Manager, opened: Opened) -> None:
    queue_id = refused(manager, "pallets", [b"no JSON"])
    mend(manager, queue_id, "pallets", 1000)
    page = opened(url_of(manager), f"/workflows/{queue_id}")
    confirmed(page, "Replay dead letters", queue_id)
    rig.eventually(lambda: waiting(manager, queue_id) == 1 or None, "one is stored, one came back")
    assert [one["n"] for one in manager.records(manager.show(queue_id)["collection"])] == [1000]
    expect(page.locator(".title")).to_contain_text("finished")


def replay(page: Page, button: str, title: str, queue_id: str) -> None:
    """Click the button and confirm it in a dialog that names the count and the workflow."""
    page.get_by_role("button", name=button, exact=True).click()
    dialog = page.get_by_role("dialog", name=title)
    expect(dialog).to_contain_text(queue_id)
    dialog.get_by_role("button", name="Replay", exact=True).click()
    expect(dialog).to_have_count(0)


def test_keyboard_alone(manager: rig.Manager, hostile: str, opened: Opened) -> None:
    page = opened(url_of(manager))
    seen(page, "Workflows")
    keys = page.keyboard
    keys.press("g")
    keys.press("d")
    row = page.get_by_role("row").filter(has_text=hostile).get_by_role("link").first
    expect(row).to_be_visible()
    for _ in range(page.locator("[data-row]").count()):
        keys.press("j")
        if row.evaluate("one => one === document.activeElement"):
            break
    keys.press("Enter")
    rows(page, len(BAD))
    keys.press("j")
    keys.press("j")
    button = page.locator("[data-row]").nth(1)
    expect(button).to_be_focused()
    keys.press("Enter")
    expect(button).to_have_attribute("aria-expanded", "true")
    keys.press("Shift+Tab")
    keys.press("Shift+Tab")
    box = page.get_by_role("checkbox", name="Choose orders:0:1", exact=True)
    expect(box).to_be_focused()
    keys.press("Space")
    expect(page.get_by_text("1 chosen", exact=True)).to_be_visible()
    page.get_by_role("button", name="Replay 1 chosen").focus()
    keys.press("Enter")
    expect(page.get_by_role("dialog", name="Replay 1 dead letter?")).to_be_visible()
    keys.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert waiting(manager, hostile) == len(BAD)


def test_a_reader_sees_them_and_replays_nothing(manager: rig.Manager, hostile: str, opened: Opened) -> None:
    page = opened(url_of(manager), "/nothing")
    replaced(page, "**/access", lambda body: body.update(role="reader"))
    page.goto(f"{url_of(manager)}/ui/dead-letters/{hostile}")
    rows(page, len(BAD))
    button = page.get_by_role("button", name=f"Replay all {len(BAD)}")
    expect(button).to_have_attribute("aria-disabled", "true")
    expect(button).to_have_accessible_description("Your token is a reader's. This needs an operator's token.")
    button.click(force=True)
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_replay_that_is_refused_says_why_in_the_dialog(manager: rig.Manager, hostile: str, opened: Opened) -> None:
    page = opened(url_of(manager), f"/dead-letters/{hostile}")
    replaced(page, f"**/queues/{hostile}/dlq?*", lambda body: body["dead_letters"][0].update(offset=999_999))
    page.reload()
    page.get_by_role("checkbox", name="Choose orders:0:999999").click()
    page.get_by_role("button", name="Replay 1 chosen").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Replay", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("none of these 1 is a dead letter of workflow")
    dialog.get_by_role("button", name="Do nothing").click()
    expect(dialog).to_have_count(0)


@pytest.mark.parametrize(("theme", "language"), LOOKS)
def test_axe_finds_nothing_and_nothing_is_wider_than_the_window(
    manager: rig.Manager, hostile: str, opened: Opened, theme: str, language: str
) -> None:
    page = opened(url_of(manager), "/dead-letters", theme=theme, language=language, width=390)
    expect(page.get_by_role("row").filter(has_text=hostile)).to_be_visible()
    assert violations(page) == []
    assert width_of(page) <= 390
    page.goto(f"{url_of(manager)}/ui/dead-letters/{hostile}")
    page.locator("[data-row]").first.click()
    page.get_by_role("checkbox").nth(1).click()
    page.locator("[data-row]").nth(4).click()
    assert violations(page) == []
    assert width_of(page) <= 390
    page.locator(".actions button").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert violations(page) == []
