"""The screen of a series as a page: what its picture and its table show."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from playwright.sync_api import Page, expect

from tests.ui.test_screens import TYPE

DAY = "2024-08-01T"
FIRST, LAST = f"{DAY}00:00Z:{DAY}01:00Z", f"{DAY}02:00Z:{DAY}03:00Z"
HOLE = "[2024-08-01 01:00, 2024-08-01 02:00)"
GOOD, BAD, UNKNOWN, OURS, LINK = (14, 107, 58), (179, 32, 42), (122, 82, 0), (179, 32, 42), (11, 95, 165)
"""Colours of the light theme: a rising and a falling candle, two reasons of holes, the first series beside."""

COUNT = """([from, to, wanted]) => {
  const all = [...document.querySelectorAll('.chart canvas')];
  const areas = all.map(one => one.width * one.height);
  const canvas = all[areas.indexOf(Math.max(...areas))];
  const [left, right] = [Math.floor(from * canvas.width), Math.ceil(to * canvas.width)];
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const data = copy.getImageData(left, 0, Math.max(1, right - left), canvas.height).data;
  const found = wanted.map(() => 0);
  for (let at = 0; at < data.length; at += 4) {
    wanted.forEach((color, n) => {
      if (color.every((part, i) => Math.abs(part - data[at + i]) <= 12)) found[n] += 1;
    });
  }
  return found;
}"""
"""How many pixels of each colour the chart has between two shares of its width."""


CELLS = "rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim()))"


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def chart(symbol: str, start: str, end: str) -> str:
    return f"/series/{symbol}/{TYPE}?start={start}&end={end}"


def drawn(page: Page) -> None:
    """Wait until the picture is there and nothing of it is asked for any more."""
    expect(page.locator(".chart canvas").first).to_be_visible()
    expect(page.get_by_text("Loading finer bars")).to_have_count(0)
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))")


def pixels(page: Page, start: str, end: str, *colors: tuple[int, int, int]) -> list[int]:
    """How many pixels of each colour lie between two instants, by the view that the fields name."""
    first, last = (ms(page.get_by_label(name, exact=True).input_value()) for name in ("From", "To"))
    begin, stop = ms(start), ms(end)
    shares = [(one - first) / (last - first) for one in (begin, stop)]
    return list(page.evaluate(COUNT, [*shares, [list(color) for color in colors]]))


def rows_of(page: Page) -> list[list[str]]:
    """The rows of the table of bars, of all pages."""
    section = page.locator("section").filter(has=page.get_by_role("heading", name=re.compile("^Bars in view")))
    found = list[list[str]]()
    while True:
        found += section.locator("tbody tr").evaluate_all(CELLS)
        button = section.get_by_role("button", name="Next")
        if button.is_disabled():
            return found
        button.click()
