"""Pages of the browser that tests use one after the other.

A new one costs five times as much as one that is led elsewhere: it is a process, and reads and compiles all of the UI.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from playwright.sync_api import Browser, Error, Page

from tests.limits import LIMIT_S

LOCALES = {"en": "en-GB", "ru": "ru-RU"}
FORGOTTEN = """() => {
  localStorage.clear();
  sessionStorage.clear();
  return [Date, setTimeout].every((one) => String(one).includes("[native code]"));
}"""
"""Empties the stores of a page; whether its clock is the browser's own, which a test cannot give back."""


class Tab:
    """A page of a context of its own, and what a test has added to it."""

    def __init__(self, browser: Browser, language: str) -> None:
        self.language = language
        self._context = browser.new_context(locale=LOCALES[language], timezone_id="Asia/Kolkata", bypass_csp=False)
        self._context.set_default_timeout(LIMIT_S * 1000)
        self.page: Page = self._context.new_page()
        self._session = self._context.new_cdp_session(self.page)
        self._heard: list[tuple[Any, Any]] = []
        self._spoilt = False
        self.page.on = self._on  # type: ignore[method-assign]
        self.page.add_init_script = self._add_init_script  # type: ignore[method-assign, assignment]

    def lay_out(self, width: int, theme: str) -> None:
        """Give the page this width and the system's theme."""
        self.page.set_viewport_size({"width": width, "height": 800})
        self.page.emulate_media(color_scheme="dark" if theme == "dark" else "light", forced_colors="none")

    def given_back(self, url: str) -> bool:
        """Undo what a test has done to the page of the server at `url`; False: that cannot be done."""
        page = self.page
        for event, handler in self._heard:
            page.remove_listener(event, handler)
        self._heard.clear()
        if self._spoilt or page.is_closed() or self._context.pages != [page]:
            return False
        try:
            page.unroute_all(behavior="ignoreErrors")
            self._context.clear_permissions()
            page.goto(f"{url}/healthz")
            page.mouse.move(0, 0)
            self._session.send("Page.resetNavigationHistory")
            return bool(page.evaluate(FORGOTTEN))
        except Error:  # its server has ended
            return False

    def close(self) -> None:
        """End the page and its context."""
        for page in self._context.pages:
            page.unroute_all(behavior="ignoreErrors")
        self._context.close()

    def shown(self, of: Callable[[Page], str]) -> list[str]:
        """What `of` says of each page of its context."""
        return [of(page) for page in self._context.pages]

    def _on(self, event: Any, f: Any) -> None:
        self._heard.append((event, f))
        Page.on(self.page, event, f)

    def _add_init_script(self, *script: Any, **more: Any) -> None:
        self._spoilt = True
        Page.add_init_script(self.page, *script, **more)


class Tabs:
    """Those that no test uses now, by their language."""

    def __init__(self, browser: Browser) -> None:
        self._new = partial(Tab, browser)
        self._free: list[Tab] = []

    def taken(self, language: str) -> Tab:
        """A page that shows nothing of the UI, as a new one."""
        for at, one in enumerate(self._free):
            if one.language == language:
                return self._free.pop(at)
        return self._new(language)

    def give_back(self, tab: Tab, url: str) -> None:
        """Keep it for another test, if it can be as new; it has shown the UI of `url`."""
        if tab.given_back(url):
            self._free.append(tab)
        else:
            tab.close()

    def close(self) -> None:
        """End them."""
        for one in self._free:
            one.close()
