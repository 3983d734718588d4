import assert from "node:assert/strict";
import test from "node:test";
import { commandOf, LOOKS, pictureCopies, REASONS, remedyOf } from "./reasons.ts";
import type { TimeWindow } from "./timewindow.ts";
import { sameSeries } from "./types.ts";
import * as views from "./view.ts";

const DAY_MS = 86_400_000;
const MINUTES = views.levelsOf("api_candles_1m");
const YEARS = { startMs: Date.parse("2015-01-01"), endMs: Date.parse("2025-01-01") };

test("the levels of a type are its own interval and those of the calendar that hold it whole", () => {
  const minutes = (type: string): number[] => views.levelsOf(type).map((ms) => ms / 60_000);
  assert.deepEqual(minutes("api_candles_1m"), [1, 5, 15, 60, 240, 1440, 10_080]);
  assert.deepEqual(minutes("api_candles_3m"), [3, 15, 60, 240, 1440, 10_080]);
  assert.deepEqual(minutes("api_candles_1d"), [1440, 10_080]);
  assert.deepEqual(minutes("api_trades"), minutes("api_candles_1m"));
  assert.equal(views.levelsOf("api_candles_1s")[0], 1000);
  assert.deepEqual(views.levelsOf("api_candles_1M"), []);
});

test("from a decade to minutes, a picture is never asked for with more than 2,000 bars, nor with too few", () => {
  const levels = MINUTES;
  let view = YEARS;
  for (let step = 0; step < 40; step += 1) {
    const asked = views.askedOf(view, YEARS, 1200, levels);
    assert.ok(asked.max >= 50 && asked.max <= 2000, String(asked.max));
    assert.ok(asked.startMs <= view.startMs && asked.endMs >= view.endMs);
    const level = views.levelOf(asked, levels) ?? 0;
    const seen = (view.endMs - view.startMs) / level;
    assert.ok(seen <= 525, `${seen} bars in view`);
    assert.ok(seen >= 50 || level === 60_000, `${seen} bars in view`);
    view = views.zoomedAbout(view, 1.4, YEARS.startMs + 0.7 * (YEARS.endMs - YEARS.startMs));
  }
});

test("what is asked for reaches a view further on either side, as far as the series goes", () => {
  const view = { startMs: YEARS.startMs + 10 * DAY_MS, endMs: YEARS.startMs + 40 * DAY_MS };
  const asked = views.askedOf(view, YEARS, 1000, MINUTES);
  assert.deepEqual([asked.startMs, asked.endMs], [YEARS.startMs, YEARS.startMs + 70 * DAY_MS]);
  const before = views.askedOf({ startMs: YEARS.startMs - 5 * DAY_MS, endMs: YEARS.startMs }, YEARS, 1000, MINUTES);
  assert.equal(before.startMs, YEARS.startMs - 5 * DAY_MS);
});

test("of a series whose longest bars are short, all of them are asked for", () => {
  const asked = views.askedOf(YEARS, YEARS, 300, [DAY_MS]);
  assert.equal(asked.max, 3655);
  assert.equal(views.levelOf(asked, [DAY_MS]), DAY_MS);
  assert.equal(views.askedOf(YEARS, YEARS, 300, []).max, 2000);
});

test("a pan within the margin asks for nothing, one near its end does, and so does another level", () => {
  const levels = MINUTES;
  const view = { startMs: YEARS.startMs + 100 * DAY_MS, endMs: YEARS.startMs + 130 * DAY_MS };
  const before = views.askedOf(view, YEARS, 1000, MINUTES);
  const again = (to: TimeWindow): boolean => views.does(before, views.askedOf(to, YEARS, 1000, levels), to, levels);
  const moved = (days: number): TimeWindow => ({
    startMs: view.startMs + days * DAY_MS,
    endMs: view.endMs + days * DAY_MS,
  });
  assert.equal(again(view), true);
  assert.equal(again(moved(20)), true);
  assert.equal(again(moved(25)), false);
  assert.equal(again(moved(-25)), false);
  assert.equal(again(views.zoomedAbout(view, 8, view.startMs)), false);
});

test("zooming keeps the instant where it is", () => {
  const view = { startMs: 0, endMs: 1000 };
  assert.deepEqual(views.zoomedAbout(view, 2, 250), { startMs: 125, endMs: 625 });
  assert.deepEqual(views.zoomedAbout(views.zoomedAbout(view, 2, 250), 0.5, 250), view);
});

test("what is to be shown is moved to the middle, and what is seen moves nothing", () => {
  const view = { startMs: 0, endMs: 100 };
  assert.equal(views.showing(view, { startMs: 90, endMs: 100 }), view);
  assert.deepEqual(views.showing(view, { startMs: 200, endMs: 210 }), { startMs: 155, endMs: 255 });
  assert.deepEqual(views.showing(view, { startMs: 200, endMs: 600 }), { startMs: 200, endMs: 600 });
});

test("an address holds a view in UTC, and one that is none is none", () => {
  const view = { startMs: Date.parse("2024-08-01T12:30:00Z"), endMs: Date.parse("2024-08-02T00:00:00Z") };
  const query = new URLSearchParams({ start: views.textOf(view.startMs), end: views.textOf(view.endMs) });
  assert.equal(query.get("start"), "2024-08-01T12:30:00Z");
  assert.deepEqual(views.viewOf(query), view);
  for (const text of ["2024-08-01T12:30", "2024-08-01 12:30", "1722515400000"]) {
    assert.equal(views.instantOf(text), view.startMs, text);
  }
  for (const [start, end] of [
    ["2024", "x"],
    ["2024-08-02", "2024-08-01"],
    ["-30d", "now"],
    ["5", "01/02/2024"],
  ] as const) {
    assert.equal(views.viewOf(new URLSearchParams({ start, end })), null);
  }
  assert.equal(views.viewOf(new URLSearchParams()), null);
});

test("each reason has a pattern of its own", () => {
  assert.equal(new Set(REASONS.map((one) => LOOKS[one].path)).size, REASONS.length);
});

test("what a load can bring is loaded, what is gone is counted, for the rest there is no command", () => {
  const asked = ["BTCUSDT", "api_candles_1m", "2024-08-01T00:20Z:2024-08-01T00:40Z", "http://h:1"] as const;
  assert.equal(
    commandOf("ours", ...asked),
    "streamforge load BTCUSDT api_candles_1m 2024-08-01T00:20Z:2024-08-01T00:40Z --server http://h:1",
  );
  assert.match(commandOf("gone", ...asked) ?? "", /^streamforge coverage BTCUSDT .* --verify --server http:\/\/h:1$/);
  assert.deepEqual(
    REASONS.filter((one) => remedyOf(one) === "load"),
    ["ours", "unknown", "expired"],
  );
  assert.equal(commandOf("exchange", ...asked), null);
  assert.match(commandOf("ours", "Ä'B", "t", "r", "s") ?? "", /^streamforge load 'Ä'\\''B' t r --server s$/);
});

test("what is copied names the series and the range, without a token", () => {
  const found = pictureCopies(
    "BTCUSDT",
    "api_candles_1m",
    "2024-08-01Z:2024-08-02Z",
    "l",
    "/p?start=1&end=2",
    "http://h:1",
  );
  assert.deepEqual(found, {
    link: "l",
    cli: "streamforge export BTCUSDT api_candles_1m 2024-08-01Z:2024-08-02Z --server http://h:1",
    curl: `curl -H "Authorization: Bearer $STREAMFORGE_TOKEN" 'http://h:1/p?start=1&end=2'`,
    python: 'streamforge.read("BTCUSDT", "api_candles_1m", "2024-08-01Z:2024-08-02Z", server="http://h:1").frame',
  });
});

test("a stream and a load of the same records are of one series", () => {
  assert.ok(sameSeries("ws_candles_1m", "api_candles_1m"));
  assert.ok(!sameSeries("ws_candles_1m", "api_candles_5m"));
});
