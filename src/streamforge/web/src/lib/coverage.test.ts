import assert from "node:assert/strict";
import test from "node:test";
import { canLoad, commandsOf, loadRange, missingOf } from "./missing.ts";
import {
  inWindow,
  lettersOf,
  outlinesOf,
  pieceAt,
  piecesOf,
  VERDICT_LINES,
  VERDICTS,
  type VerdictRun,
} from "./runs.ts";
import { moved, ticksOf, windowOf, zoomedWindow } from "./timewindow.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const AUGUST = Date.UTC(2024, 7, 1);
const YEAR = { startMs: AUGUST, endMs: AUGUST + 365 * DAY };

test("each verdict has a pattern of its own", () => {
  const patterns = Object.values(VERDICT_LINES);
  assert.equal(new Set(patterns).size, patterns.length);
});

test("pieces lie where their runs are, and a hole of a minute in a year is still seen", () => {
  const hole = AUGUST + 100 * DAY;
  const runs: VerdictRun[] = [
    [AUGUST - DAY, hole, "stored"],
    [hole, hole + 60_000, "ours"],
    [hole + 60_000, AUGUST + 400 * DAY, "stored"],
    [AUGUST + 400 * DAY, AUGUST + 401 * DAY, "pending"],
  ];
  const pieces = piecesOf(runs, YEAR, 730);
  assert.deepEqual(
    pieces.map((one) => [one.run[2], Math.round(one.left), Math.round(one.width)]),
    [
      ["stored", 0, 200],
      ["ours", 200, 3],
      ["stored", 200, 530],
    ],
  );
  assert.equal(pieceAt(pieces, 201)?.run[2], "ours");
  assert.equal(pieceAt(pieces, 204)?.run[2], "stored");
  assert.equal(pieceAt(pieces, -1), null);
  const last = piecesOf([[YEAR.endMs - 1, YEAR.endMs, "lost"]], YEAR, 730)[0];
  assert.ok(last && last.left + last.width <= 730);
});

test("a picture has one outline a verdict, the worst on top, and a bounded number of letters", () => {
  const runs = Array.from({ length: 400 }, (_, at): VerdictRun => {
    const start = AUGUST + at * HOUR;
    return [start, start + HOUR, VERDICTS[at % VERDICTS.length] as string];
  });
  const window = { startMs: AUGUST, endMs: AUGUST + 400 * HOUR };
  const pieces = piecesOf(runs, window, 400 * 30);
  const outlines = outlinesOf(pieces, 20);
  assert.deepEqual(
    outlines.map((one) => one.verdict),
    VERDICTS,
  );
  assert.equal(outlines.at(-1)?.path.match(/M/g)?.length, 50);
  assert.equal(outlines[0]?.path.slice(0, 19), "M0 0h30v20h-30zM240");
  assert.deepEqual(lettersOf(pieces, 12).length, 12);
  assert.deepEqual(lettersOf(piecesOf(runs, window, 4000), 12), []);
  const newer = piecesOf([[AUGUST, YEAR.endMs, "strange"]], YEAR, 100);
  assert.deepEqual(lettersOf(newer, 1), [{ verdict: "strange", x: 50 }]);
  assert.equal(outlinesOf(newer, 20)[0]?.verdict, "unknown");
});

test("a window is zoomed about a place, moved, and kept within what the server takes", () => {
  const window = { startMs: AUGUST, endMs: AUGUST + 10 * DAY };
  assert.deepEqual(zoomedWindow(window, 0.5), { startMs: AUGUST + 2.5 * DAY, endMs: AUGUST + 7.5 * DAY });
  assert.deepEqual(zoomedWindow(window, 0.1, 0), { startMs: AUGUST, endMs: AUGUST + DAY });
  assert.deepEqual(moved(window, -0.5), { startMs: AUGUST - 5 * DAY, endMs: AUGUST + 5 * DAY });
  const least = zoomedWindow({ startMs: AUGUST, endMs: AUGUST + 60_000 }, 0.1);
  assert.equal(least.endMs - least.startMs, 60_000);
  const most = zoomedWindow(YEAR, 1e9);
  assert.deepEqual([most.startMs, most.endMs], [DAY, Date.UTC(9998, 0, 1)]);
  assert.ok(moved(YEAR, -1e9).startMs > 0);
});

test("only a start and an end in milliseconds name a window", () => {
  assert.deepEqual(windowOf("1722470400000", "1722556800000"), { startMs: AUGUST, endMs: AUGUST + DAY });
  for (const [start, end] of [
    ["2024-08-01", "1722556800000"],
    ["-30d", "now"],
    ["1722556800000", "1722470400000"],
  ]) {
    assert.equal(windowOf(start as string, end as string), null);
  }
  assert.equal(windowOf(null, "1722556800000"), null);
});

test("ticks are round instants, few, and say no more than they must", () => {
  const told = (length: number, offset = 0): string[] =>
    ticksOf({ startMs: AUGUST, endMs: AUGUST + length }, 6, () => offset).map(({ ms, part }) =>
      new Date(ms + offset).toISOString().replace("T", " ").slice(part[0], part[1]),
    );
  assert.deepEqual(told(6 * HOUR), ["08-01", "01:00", "02:00", "03:00", "04:00", "05:00"]);
  assert.deepEqual(told(4 * DAY), ["2024-08-01", "2024-08-02", "2024-08-03", "2024-08-04"]);
  assert.deepEqual(told(30 * DAY), ["2024-08-05", "2024-08-12", "2024-08-19", "2024-08-26"]);
  assert.deepEqual(told(365 * DAY), ["2024-10", "2025-01", "2025-04", "2025-07"]);
  assert.deepEqual(told(3650 * DAY), ["2026", "2028", "2030", "2032", "2034"]);
  assert.deepEqual(told(4 * DAY, 5.5 * HOUR), ["2024-08-02", "2024-08-03", "2024-08-04", "2024-08-05"]);
  assert.ok(told(8000 * 365 * DAY).length <= 30);
});

test("ticks are round instants of a clock that is put back and forward, none twice", () => {
  // Berlin: an hour less from 2024-10-27T01:00Z, an hour more from 2025-03-30T01:00Z.
  const [back, forward] = [Date.UTC(2024, 9, 27, 1), Date.UTC(2025, 2, 30, 1)];
  const ahead = (ms: number): number => (ms < back || ms >= forward ? 2 : 1) * HOUR;
  const told = (startMs: number, endMs: number): string[] =>
    ticksOf({ startMs, endMs }, 6, ahead).map(({ ms }) => new Date(ms + ahead(ms)).toISOString().slice(5, 16));
  assert.deepEqual(told(AUGUST, Date.UTC(2025, 0, 15)), [
    "09-01T00:00",
    "10-01T00:00",
    "11-01T00:00",
    "12-01T00:00",
    "01-01T00:00",
  ]);
  assert.deepEqual(
    told(forward - 2 * HOUR, forward + 3 * HOUR),
    ["00:00", "01:00", "03:00", "04:00", "05:00"].map((time) => `03-30T${time}`),
  );
  const [whole] = ticksOf({ startMs: back - 10 * DAY, endMs: back + 10 * DAY }, 6, ahead).slice(-1);
  assert.equal((whole?.left ?? 0) < 100, true);
});

const runs: VerdictRun[] = [
  [AUGUST, AUGUST + HOUR, "unknown"],
  [AUGUST + HOUR, AUGUST + 2 * HOUR, "stored"],
  [AUGUST + 2 * HOUR, AUGUST + 3 * HOUR, "ours"],
  [AUGUST + 3 * HOUR, AUGUST + 4 * HOUR, "expired"],
  [AUGUST + 4 * HOUR, AUGUST + 5 * HOUR, "lost"],
  [AUGUST + 5 * HOUR, AUGUST + 9 * HOUR, "unknown"],
];

test("what lacks is from the first hole to the last, but not over what retention removed", () => {
  const window = { startMs: AUGUST + HOUR / 2, endMs: AUGUST + 6 * HOUR };
  const of = (type: string) => missingOf({ symbol: "BTCUSDT", type, runs }, window);
  assert.deepEqual(
    of("api_trades").map((one) => [one.startMs - AUGUST, one.endMs - AUGUST, one.holes]),
    [
      [HOUR / 2, 3 * HOUR, 2],
      [5 * HOUR, 6 * HOUR, 1],
    ],
  );
  assert.deepEqual(of("ws_orderbook"), []);
  assert.equal(inWindow(runs, window).length, 6);
  assert.deepEqual(
    ["ours", "unknown", "expired", "lost", "stored", "exchange"].map((one) => canLoad("api_trades", one)),
    [true, true, true, false, false, false],
  );
  assert.equal(canLoad("ws_orderbook", "unknown"), false);
});

test("a request has whole seconds, as short as they can be, and holds the whole range", () => {
  assert.equal(loadRange(AUGUST, AUGUST + DAY), "2024-08-01:2024-08-02");
  assert.equal(loadRange(AUGUST + 60_000, AUGUST + HOUR), "2024-08-01T00:01Z:2024-08-01T01:00Z");
  assert.equal(loadRange(AUGUST + 1500, AUGUST + 2500), "2024-08-01T00:00:01Z:2024-08-01T00:00:03Z");
  assert.deepEqual(
    commandsOf({ symbol: "B'T", type: "api_trades", startMs: AUGUST, endMs: AUGUST + DAY }, "http://h:1"),
    {
      load: `streamforge load 'B'\\''T' api_trades 2024-08-01:2024-08-02 --server http://h:1`,
      coverage: `streamforge coverage 'B'\\''T' api_trades 2024-08-01:2024-08-02 --server http://h:1`,
      curl: `curl -H "Authorization: Bearer $STREAMFORGE_TOKEN" 'http://h:1/coverage/B'\\''T/api_trades?time_range=2024-08-01:2024-08-02'`,
    },
  );
});
