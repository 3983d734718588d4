"""The screen of settings and health before a real manager: what is wrong, facts, preferences, and no secret."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from streamforge.version import installed_version
from tests.e2e import rig
from tests.ui.conftest import LOOKS, Opened, replaced, width_of
from tests.ui.test_screens import HOSTILE, HOUR, TYPE, failed, seen, url_of, violations

READER, OPERATOR = "reader-token-0123456789", "operator-token-0123456789"
PLANTED = "planted-secret-0123456789"
TITLES = {"en": "Settings and health", "ru": "Настройки и состояние"}


@pytest.fixture(scope="module")
def guarded(exchange: rig.Exchange, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rig.Manager]:
    """A manager with tokens, another secret and one workflow that has failed."""
    exchange.reset()
    settings = {
        "STREAMFORGE_READER_TOKEN": READER,
        "STREAMFORGE_OPERATOR_TOKEN": OPERATOR,
        "BINANCE_API_KEY": PLANTED,
        "STREAMFORGE_MAX_RUNNING": "1234",
    }
    with rig.manager(tmp_path_factory.mktemp("guarded") / "data", exchange.url, **settings) as found:
        found.api.headers["Authorization"] = f"Bearer {OPERATOR}"
        failed(found, exchange, "ETHUSDT")
        yield found


def settings_page(manager: rig.Manager, opened: Opened, *, language: str = "en", **options: object) -> Page:
    page = opened(url_of(manager), f"/settings#token={READER}", language=language, **options)
    seen(page, TITLES[language])
    expect(page.get_by_role("table").first).to_be_visible()
    return page


@contextmanager
def unusable(file: Path) -> Iterator[None]:
    """Let a folder be in the place of the file."""
    away = file.with_name(file.name + ".away")
    file.rename(away)
    file.mkdir()
    try:
        yield
    finally:
        file.rmdir()
        away.rename(file)


def test_a_healthy_manager_is_shown_to_a_reader_without_a_secret(guarded: rig.Manager, opened: Opened) -> None:
    page = settings_page(guarded, opened)
    expect(page.locator(".title")).to_contain_text("works")
    expect(page.get_by_text("Nothing is wrong.")).to_be_visible()
    facts = page.get_by_role("region", name="Facts")
    expect(facts).to_contain_text(f"queue-manager {installed_version()}, Python 3.")
    expect(facts).to_contain_text("store: files (SQLite 3.")
    expect(facts).to_contain_text("0 of 1,234 workflows at once")
    expect(facts).to_contain_text("free on the disk")
    expect(facts).to_contain_text("this machine's.")
    failures = page.get_by_role("table", name="Latest failures")
    expect(failures).to_contain_text("exchange-refused")
    settings = page.get_by_role("table", name="Settings of the manager")
    expect(settings.get_by_role("row").filter(has_text="BINANCE_API_KEY")).to_contain_text("set, not shown")
    expect(settings.get_by_role("row").filter(has_text="STREAMFORGE_MAX_RUNNING")).to_contain_text("1234")
    expect(settings).not_to_contain_text("STREAMFORGE_HOST")
    page.get_by_label("Only those that are set").uncheck()
    page.get_by_label("Find").fill("listens on")
    row = settings.get_by_role("row").filter(has_text="STREAMFORGE_HOST")
    expect(row).to_contain_text("127.0.0.1")
    expect(row).to_contain_text("default")
    page.get_by_label("Find").fill("")
    answer = guarded.api.get("/health").raise_for_status().text
    for secret in (PLANTED, READER, OPERATOR):
        assert secret not in page.content()
        assert secret not in answer
    failures.get_by_role("link").click()
    seen(page, "ETHUSDT")


@pytest.mark.long
def test_a_broken_bus_is_the_first_thing_with_its_next_step_until_it_works_again(
    guarded: rig.Manager, opened: Opened
) -> None:
    page = settings_page(guarded, opened)
    wrong = page.get_by_role("region", name="What is wrong")
    expect(wrong.get_by_text("Nothing is wrong.")).to_be_visible()
    with unusable(guarded.data / "bus" / "bus.lock"):
        first = wrong.locator(".finding").first
        expect(first).to_contain_text("bus")
        expect(first).to_contain_text("What to do: run `streamforge doctor` where the manager runs")
        expect(page.locator(".title")).to_contain_text("fails")
    expect(wrong.get_by_text("Nothing is wrong.")).to_be_visible()
    guarded.loaded("BTCUSDT", TYPE, HOUR)  # it is whole again


def test_the_report_is_copied_as_text(guarded: rig.Manager, opened: Opened) -> None:
    page = settings_page(guarded, opened)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy the report").click()
    expect(page.locator(".said")).to_have_text("Copied")
    text = page.evaluate("navigator.clipboard.readText()")
    assert text.startswith(f"StreamForge {installed_version()}: works, checked at 20")
    assert "failed: exchange-refused 1, latest " in text
    assert "STREAMFORGE_MAX_RUNNING=1234\n" in text
    assert "BINANCE_API_KEY=(not shown)\n" in text
    assert PLANTED not in text
    assert READER not in text
    page.evaluate("void (navigator.clipboard.writeText = () => Promise.reject(new Error('it is not allowed')))")
    page.get_by_role("button", name="Copy the report").click()
    expect(page.locator(".said")).to_contain_text("select the text and copy it by hand")


def test_preferences_are_those_of_the_header_and_stay(guarded: rig.Manager, opened: Opened) -> None:
    page = settings_page(guarded, opened)
    preferences = page.get_by_role("region", name="Preferences of this browser")
    preferences.get_by_label("Numbers").select_option("plain")
    expect(page.get_by_role("region", name="Facts")).to_contain_text("0 of 1234 workflows at once")
    preferences.get_by_label("Theme").select_option("dark")
    expect(page.get_by_role("banner").get_by_label("Theme")).to_have_value("dark")
    preferences.get_by_label("Single keys do something").uncheck()
    preferences.get_by_label("Language").select_option("ru")
    seen(page, TITLES["ru"])
    page.reload()
    seen(page, TITLES["ru"])
    kept = page.get_by_role("region", name="Предпочтения этого браузера")
    expect(kept.get_by_label("Числа")).to_have_value("plain")
    expect(kept.get_by_label("Тема")).to_have_value("dark")
    expect(kept.get_by_role("checkbox")).not_to_be_checked()


def test_a_page_of_an_older_build_says_so_and_findings_are_text(guarded: rig.Manager, opened: Opened) -> None:
    def changed(body: rig.Json) -> None:
        body["versions"]["ui"] = "index-another.js"
        found = {"part": HOSTILE, "verdict": "careful", "code": "clock-wrong", "detail": HOSTILE, "next_step": HOSTILE}
        body["findings"].insert(0, found)
        body["settings"][0].update(value=HOSTILE, origin="environment")

    page = opened(url_of(guarded), f"/nothing#token={READER}")
    replaced(page, "**/health", changed)
    page.keyboard.press("g")
    page.keyboard.press("h")
    seen(page, TITLES["en"])
    expect(page.get_by_role("button", name="Load the page again")).to_be_visible()
    expect(page.locator("li.finding")).to_contain_text(HOSTILE)
    assert page.locator("img, main script").count() == 0
    assert "owned" not in page.title()


def test_a_ban_the_weight_and_the_limit_of_the_store_are_told(guarded: rig.Manager, opened: Opened) -> None:
    def changed(body: rig.Json) -> None:
        weights = {"weight_used": 1500, "weight_left": 4500, "weight_loaders": 5400, "weight_manager": 600}
        body["exchange"].update(banned_until="2024-08-01T12:30:05Z", ban_reason="HTTP 418", loaders=2, **weights)
        body["store"].update(
            used_bytes=3_000_000_000, limit_bytes=4_000_000_000, growth_bytes_per_day=None, full_at=None
        )

    page = opened(url_of(guarded), f"/nothing#token={READER}")
    replaced(page, "**/health", changed)
    page.goto(f"{url_of(guarded)}/ui/settings")
    facts = page.get_by_role("region", name="Facts")
    expect(facts).to_contain_text("2024-08-01 12:30:05")
    expect(facts).to_contain_text("HTTP 418")
    expect(facts).to_contain_text("1,500 of 6,000")
    for name, value, most in (("weight", 1500, 6000), ("Room", 3_000_000_000, 4_000_000_000)):
        bar = facts.get_by_role("progressbar", name=re.compile(name))
        assert bar.evaluate("one => [one.value, one.max]") == [value, most]
    expect(facts).to_contain_text("3 GB of 4 GB used")


@pytest.mark.parametrize(("theme", "language"), LOOKS)
def test_axe_finds_nothing_and_nothing_is_wider_than_a_phone(
    guarded: rig.Manager, opened: Opened, theme: str, language: str
) -> None:
    page = settings_page(guarded, opened, theme=theme, language=language, width=390)
    for summary in page.locator("summary").all():
        summary.click()
    assert width_of(page) <= 390
    assert violations(page) == []
    page.set_viewport_size({"width": 1280, "height": 800})
    assert width_of(page) <= 1280
    assert violations(page) == []
