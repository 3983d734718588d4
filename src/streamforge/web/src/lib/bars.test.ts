import assert from "node:assert/strict";
import test from "node:test";
import type { Bars, StoredSeries, Verdict } from "../api/types.ts";
import { Axis } from "./axis.ts";
import {
  alignedTo,
  type BarRun,
  edgesOf,
  goingOn,
  holesOf,
  inPercent,
  isHole,
  joined,
  pointsOf,
  type Reason,
  reasonOf,
  runAt,
  runsOf,
} from "./bars.ts";

const VERDICTS: Verdict[] = ["stored", "closed", "pending", "exchange", "expired", "lost", "unknown", "ours"];
const MINUTE_MS = 60_000;
const START_MS = Date.parse("2024-08-01T00:00:00Z");

/** Numbers from 0 to 1, the same for the same seed. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 4_294_967_296;
    return state / 4_294_967_296;
  };
}

interface Minute {
  verdict: Verdict;
  there: boolean;
}

/** Runs of minutes with one verdict, of which a stored one now and then is gone. */
function minutesOf(chance: () => number, many: number): Minute[] {
  const found: Minute[] = [];
  while (found.length < many) {
    const verdict = chance() < 0.5 ? "stored" : (VERDICTS[Math.floor(chance() * VERDICTS.length)] as Verdict);
    const length = 1 + Math.floor(chance() * 12);
    for (let at = 0; at < length; at += 1) {
      found.push({ verdict, there: verdict === "stored" && chance() > 0.05 });
    }
  }
  return found.slice(0, many);
}

/** The minutes as the server answers them, in bars of `step` minutes. ready: whether a bar is added up. */
function barsOf(minutes: readonly Minute[], step: number, ready: (at: number) => boolean = () => true): Bars {
  const parts = Array.from({ length: Math.ceil(minutes.length / step) }, (_, at) =>
    minutes.slice(at * step, (at + 1) * step),
  );
  const n = parts.map((part, at) => (ready(at) ? part.filter((one) => one.there).length : null));
  const price = (plus: number): (number | null)[] => n.map((many, at) => (many ? at + plus : null));
  const verdict = parts.map((part) => VERDICTS[Math.max(...part.map((one) => VERDICTS.indexOf(one.verdict)))]);
  const none = ["closed", "pending"];
  return {
    interval: `${step}m`,
    step_ms: step * MINUTE_MS,
    start_ms: START_MS,
    end_ms: START_MS + parts.length * step * MINUTE_MS,
    computing: n.filter((many) => many === null).length,
    time: parts.map((_, at) => START_MS + at * step * MINUTE_MS),
    open: price(1),
    high: price(3),
    low: price(0),
    close: price(2),
    volume: price(1),
    n,
    expected: parts.map((part) => part.filter((one) => !none.includes(one.verdict)).length),
    verdict,
  } as unknown as Bars;
}

test("at any level a bar without a record has no price, and holes are what the verdicts say", () => {
  for (let seed = 1; seed <= 60; seed += 1) {
    const chance = seeded(seed);
    const minutes = minutesOf(chance, 50 + Math.floor(chance() * 400));
    for (const step of [1, 5, 15, 60]) {
      const bars = barsOf(minutes, step);
      const points = pointsOf(bars);
      assert.equal(points.length, bars.time.length);
      const shaded = new Map<number, string>();
      for (const run of runsOf(bars)) {
        assert.ok(run.first < run.end);
        assert.deepEqual([run.startMs, run.endMs], [edgesOf(bars)[run.first], edgesOf(bars)[run.end]]);
        assert.notEqual(shaded.get(run.first - 1), run.reason, "neighbours of one reason are one run");
        for (let at = run.first; at < run.end; at += 1) shaded.set(at, run.reason);
      }
      points.forEach((point, at) => {
        const part = minutes.slice(at * step, (at + 1) * step);
        assert.equal(
          "open" in point,
          part.some((one) => one.there),
          `seed ${seed}, ${step}m, bar ${at}`,
        );
        assert.equal(point.time * 1000, START_MS + at * step * MINUTE_MS);
        const worst = part.map((one) => VERDICTS.indexOf(one.verdict)).reduce((a, b) => Math.max(a, b));
        const gone = part.some((one) => one.verdict === "stored" && !one.there);
        const wanted = worst > 0 ? VERDICTS[worst] : gone ? "gone" : undefined;
        assert.equal(shaded.get(at), wanted, `seed ${seed}, ${step}m, bar ${at}`);
      });
    }
  }
});

test("a hole ends where what was asked for ends, also within a bar; a bar that was not asked for is one, too", () => {
  const minutes: Minute[] = Array.from({ length: 40 }, () => ({ verdict: "unknown", there: false }));
  const bars = barsOf(minutes, 10);
  const asked = { asked_start_ms: START_MS + 3 * MINUTE_MS, asked_end_ms: START_MS + 14 * MINUTE_MS };
  const within = (changed: Partial<Bars>): number[][] =>
    runsOf({ ...bars, ...asked, ...changed } as Bars).map((one) =>
      [one.startMs, one.endMs].map((ms) => (ms - START_MS) / MINUTE_MS),
    );
  const verdict: Verdict[] = ["unknown", "lost", "unknown", "unknown"];
  assert.deepEqual(within({ verdict }), [
    [3, 10],
    [10, 14],
    [20, 40],
  ]);
  assert.deepEqual(within({ verdict: ["stored", "pending", "closed", "closed"], expected: [0, 0, 0, 0] }), [
    [10, 20],
    [20, 40],
  ]);
  assert.deepEqual(within({ asked_start_ms: null, asked_end_ms: null }), [[0, 40]]);
});

test("a bar that is not added up yet has no price and is no hole", () => {
  const bars = barsOf(
    Array.from({ length: 20 }, () => ({ verdict: "stored", there: true })),
    5,
    (at) => at % 2 === 0,
  );
  assert.deepEqual(
    pointsOf(bars).map((one) => "open" in one),
    [true, false, true, false],
  );
  assert.deepEqual(runsOf(bars), []);
});

test("a price without a record, as no server sends it, is no point either", () => {
  const bars = barsOf([{ verdict: "unknown", there: false }], 1);
  bars.open = bars.high = bars.low = bars.close = [1];
  assert.deepEqual(pointsOf(bars), [{ time: START_MS / 1000 }]);
});

test("of trades, whose number nobody expects, a quiet bar is no hole", () => {
  const bars = barsOf([{ verdict: "stored", there: false }], 1);
  assert.equal(reasonOf(bars, 0), "gone");
  assert.equal(reasonOf({ ...bars, expected: [0] }, 0), null);
  assert.equal(reasonOf({ ...bars, expected: [null] }, 0), null);
});

function stored(many: number): Minute[] {
  return Array.from({ length: many }, () => ({ verdict: "stored", there: true }));
}

test("newer bars take the place of the end, also of a longer one", () => {
  const old = barsOf([...stored(8), { verdict: "pending", there: false }], 1);
  const from = barsOf(stored(12), 1);
  const cut = 6;
  const news = { ...from, start_ms: START_MS + cut * MINUTE_MS } as Bars;
  for (const name of ["time", "open", "high", "low", "close", "volume", "n", "expected", "verdict"] as const) {
    Object.assign(news, { [name]: from[name].slice(cut) });
  }
  const edges = { asked_start_ms: START_MS, asked_end_ms: START_MS + 12 * MINUTE_MS };
  const asked = { ...edges, asked_end_ms: START_MS + 8 * MINUTE_MS };
  const later = { asked_start_ms: news.start_ms, asked_end_ms: edges.asked_end_ms };
  assert.deepEqual(joined({ ...old, ...asked }, { ...news, ...later }), { ...from, ...edges, end: undefined });
  assert.equal(joined(old, { ...news, interval: "5m" }), null);
  assert.equal(joined(old, { ...news, start_ms: old.end_ms + 1 }), null);
});

test("another series has a price only where it has a bar of the same time and length", () => {
  const main = barsOf(stored(5), 1);
  const other = barsOf([...stored(2), { verdict: "ours", there: false }, ...stored(4)], 1);
  assert.deepEqual(
    alignedTo(main, other).map((one) => "open" in one),
    [true, true, false, true, true],
  );
  assert.ok(alignedTo(main, { ...other, interval: "5m" }).every((one) => !("open" in one)));
});

test("in per cent a point is what it is above the base, and without a base it has no price", () => {
  const points = [{ time: 1, open: 100, high: 150, low: 50, close: 125 }, { time: 2 }];
  assert.deepEqual(inPercent(points, 100), [{ time: 1, open: 0, high: 50, low: -50, close: 25 }, { time: 2 }]);
  for (const base of [null, 0]) assert.deepEqual(inPercent(points, base), [{ time: 1 }, { time: 2 }]);
});

test("positions on an axis and instants are each other's inverse, also where bars differ in length", () => {
  const axis = new Axis([0, 31, 59, 90, 120].map((days) => days * 86_400_000));
  assert.equal(axis.positionOf(0), 0);
  assert.equal(axis.positionOf(59 * 86_400_000), 2);
  assert.equal(axis.positionOf(45 * 86_400_000), 1.5);
  assert.equal(axis.positionOf(-31 * 86_400_000), -1);
  assert.equal(axis.positionOf(150 * 86_400_000), 5);
  const chance = seeded(7);
  for (let round = 0; round < 200; round += 1) {
    const position = chance() * 10 - 3;
    assert.ok(Math.abs(axis.positionOf(axis.msAt(position)) - position) < 1e-9);
  }
});

test("a series has as many holes as ranges lack of what was asked for, and what goes on lacks nothing", () => {
  const sums = VERDICTS.map((verdict, at) => ({ verdict, segments: 2 ** at, records: 0, seconds: 1 }));
  const holed = VERDICTS.filter((verdict) => isHole(verdict));
  assert.deepEqual(holed, ["exchange", "expired", "lost", "unknown", "ours"]);
  assert.equal(holesOf({ asked: sums } as StoredSeries), 8 + 16 + 32 + 64 + 128);
});

test("what of a live series is newer than what was judged goes on, for a minute", () => {
  const minutes = (many: number): Minute[] => [
    { verdict: "unknown", there: false },
    { verdict: "stored", there: true },
    ...Array.from({ length: many }, () => ({ verdict: "unknown", there: false }) as Minute),
    { verdict: "pending", there: false },
  ];
  const verdicts = (many: number, judged: number | null) =>
    goingOn({ ...barsOf(minutes(many), 1), asked_end_ms: judged === null ? null : START_MS + judged * MINUTE_MS })
      .verdict;
  assert.deepEqual(verdicts(2, 2), ["unknown", "stored", "pending", "pending", "pending"]);
  assert.deepEqual(verdicts(1, 3), ["unknown", "stored", "unknown", "pending"]);
  assert.deepEqual(verdicts(3, 2).slice(2, 5), ["unknown", "unknown", "unknown"], "too long");
  assert.deepEqual(verdicts(1, null)[2], "unknown");
});

test("a click beside a hole that is narrower than a finger means the hole", () => {
  const run = (first: number, end: number, reason: Reason): BarRun => ({ first, end, startMs: 0, endMs: 0, reason });
  const runs = [run(10, 11, "unknown"), run(14, 20, "pending"), run(30, 40, "ours"), run(41, 42, "lost")];
  const found = (at: number, reach: number): string => runAt(runs, at, reach)?.reason ?? "none";
  assert.deepEqual(
    [found(10, 0), found(9, 0), found(9, 1), found(7, 3), found(6, 3)].join(" "),
    "unknown none unknown unknown none",
  );
  assert.deepEqual([found(15, 9), found(21, 3), found(40, 5), found(44, 3)].join(" "), "pending none ours lost");
});
