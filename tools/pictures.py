"""Takes a picture of each screen of the web UI, with data of the test exchange: `make pictures`, into build/pictures.

`--readme` takes the one of the README instead, which is in the repository, docs/web-ui.png.
"""

from __future__ import annotations

import argparse
import base64
import math
import struct
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, expect

from benchmarks.ui.browser import chromium
from tests.e2e import rig
from tests.limits import LIMIT_S

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "build" / "pictures"
README = ROOT / "docs" / "web-ui.png"
README_BYTES = 60_000
HEIGHT = 800
CANDLES = "api_candles_1m"
HOURS = "2024-08-01T00:00Z:2024-08-01T02:00Z", "2024-08-01T03:00Z:2024-08-01T05:00Z"
"""What is stored of the chart's hours: one between them lacks."""
CHART = f"/series/BTCUSDT/{CANDLES}?start=2024-08-01T00:00Z&end=2024-08-01T05:00Z"
_PIXELS = """
async (text) => {
  const bytes = Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
  const image = await createImageBitmap(new Blob([bytes]));
  const context = new OffscreenCanvas(image.width, image.height).getContext("2d");
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, image.width, image.height);
  let found = "";
  for (let at = 0; at < data.length; at += 8192) found += String.fromCharCode(...data.subarray(at, at + 8192));
  return [image.width, image.height, btoa(found)];
}
"""
SETTLE_MS = 1500
"""Until what moves into its place has done so."""


def _load(exchange: rig.Exchange, manager: rig.Manager) -> Mapping[str, str]:
    """Workflows of every end, and one that goes on; by name the paths that no menu leads to."""
    for hours in HOURS:
        manager.loaded("BTCUSDT", CANDLES, hours)
    manager.loaded("ETHUSDT", "api_candles_1h", "2024-07")
    exchange.switch_on("451:path=klines")
    manager.load("ETHUSDT", CANDLES, "2024-08-01")
    exchange.lift_faults()
    exchange.switch_on("slow:ms=2000,path=klines")
    running = manager.half_loaded("BTCUSDT", "2023")
    return {"workflow": f"/workflows/{running}", "chart": CHART}


@contextmanager
def _shown(theme: str, language: str, width: int, height: int) -> Iterator[tuple[Page, str, Mapping[str, str]]]:
    """A page before a busy manager, the manager's address, and the paths of all screens, by name."""
    with (
        tempfile.TemporaryDirectory(prefix="streamforge-pictures-") as folder,
        rig.exchange() as exchange,
        rig.manager(Path(folder) / "data", exchange.url) as manager,
        chromium() as browser,
    ):
        more = _load(exchange, manager)
        context = browser.new_context(
            viewport={"width": width, "height": height},
            locale={"en": "en-GB", "ru": "ru-RU"}[language],
            color_scheme="dark" if theme == "dark" else "light",
            reduced_motion="reduce",
        )
        context.set_default_timeout(LIMIT_S * 1000)
        page, url = context.new_page(), str(manager.api.base_url).rstrip("/")
        page.goto(f"{url}/ui")
        expect(page.locator("[data-row]").first).to_be_visible(timeout=LIMIT_S * 1000)
        links = page.locator("nav a[href^='/ui/']").evaluate_all("all => all.map((one) => one.pathname)")
        menu = {path.removeprefix("/ui/"): path.removeprefix("/ui") for path in links if path.count("/") == 2}
        yield page, url, {**menu, **{name: path for name, path in more.items() if path.split("/")[1] in menu}}


def _take(page: Page, url: str, path: str, target: Path) -> None:
    """Write the picture of a screen. Raises AssertionError if it shows that something failed."""
    page.goto(f"{url}/ui{path}")
    expect(page.locator("main h1")).to_be_visible(timeout=LIMIT_S * 1000)
    expect(page.locator("main p.quiet[role=status]")).to_have_count(0, timeout=LIMIT_S * 1000)
    page.wait_for_timeout(SETTLE_MS)
    target.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=target, animations="disabled")


def _small(page: Page, picture: Path) -> None:
    """Write the picture again with its 256 most frequent colours; another one becomes the nearest of these."""
    page.goto("about:blank")
    width, height, text = page.evaluate(_PIXELS, base64.b64encode(picture.read_bytes()).decode())
    values = base64.b64decode(text)
    pixels = list(zip(values[0::4], values[1::4], values[2::4], strict=True))
    counts = Counter(pixels)
    palette = [colour for colour, _ in counts.most_common(256)]
    places = {colour: min(range(len(palette)), key=lambda at: math.dist(colour, palette[at])) for colour in counts}
    rows = bytes(places[one] for one in pixels)
    lines = b"".join(b"\0" + rows[first : first + width] for first in range(0, len(rows), width))
    picture.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        + _chunk(b"PLTE", b"".join(map(bytes, palette)))
        + _chunk(b"IDAT", zlib.compress(lines, 9))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def main(arguments: Sequence[str] | None = None) -> int:
    """Take them; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.pictures", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="these screens alone: workflow, chart, one of the menu"
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the folder of the pictures (build/pictures)")
    parser.add_argument("--theme", choices=("light", "dark"), default="light")
    parser.add_argument("--language", choices=("en", "ru"), default="en")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--readme", action="store_true", help="the picture of the README: of the chart, or of NAME")
    given = parser.parse_args(arguments)
    width, height = (960, 600) if given.readme else (given.width, HEIGHT)
    with _shown(given.theme, given.language, width, height) as (page, url, paths):
        names = given.names or (["chart"] if given.readme else list(paths))
        if unknown := sorted(set(names) - paths.keys()):
            parser.error(f"no screen is called {', '.join(unknown)}; there are {', '.join(paths)}")
        if given.readme:
            _take(page, url, paths[names[0]], README)
            _small(page, README)
            size = README.stat().st_size
            print(f"pictures: {README.relative_to(ROOT)}: {size:,} bytes")
            return 1 if size > README_BYTES else 0
        for name in names:
            _take(page, url, paths[name], given.output / f"{name}.png")
            print(f"pictures: {name}: {given.output / name}.png", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
