import assert from "node:assert/strict";
import test from "node:test";
import type { GraphEdge } from "../api/graphs.ts";
import { arranged, rearranged, type Spots, stepsOf } from "./graphlayout.ts";

const COINS = Array.from({ length: 24 }, (_, at) => `C${String(at).padStart(2, "0")}USDT`);
/** Four groups of six, joined within only. */
const GROUPS = COINS.flatMap((source, one) =>
  COINS.flatMap((target, other) => (one < other && one % 4 === other % 4 ? [{ source, target, weight: 0.8 }] : [])),
);

function distance(spots: Spots, one: string, other: string): number {
  const [a, b] = [spots.get(one), spots.get(other)];
  assert.ok(a && b);
  return Math.hypot(a.x - b.x, a.y - b.y);
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, one) => sum + one, 0) / values.length;
}

function moved(before: Spots, after: Spots): number {
  return mean(
    COINS.map((one) =>
      Math.hypot(
        (before.get(one)?.x ?? 9) - (after.get(one)?.x ?? 9),
        (before.get(one)?.y ?? 9) - (after.get(one)?.y ?? 9),
      ),
    ),
  );
}

test("coins that are joined lie nearer to each other than others, all inside the square", () => {
  const spots = arranged(COINS, GROUPS);
  const joined = new Set(GROUPS.map((one) => one.source + one.target));
  const pairs = COINS.flatMap((one, at) => COINS.slice(at + 1).map((other) => [one, other] as const));
  const apart = (within: boolean): number[] =>
    pairs
      .filter(([one, other]) => joined.has(one + other) === within)
      .map(([one, other]) => distance(spots, one, other));
  assert.ok(mean(apart(true)) < 0.6 * mean(apart(false)), `${mean(apart(true))} ${mean(apart(false))}`);
  for (const { x, y } of spots.values()) assert.ok(x >= 0 && x <= 1 && y >= 0 && y <= 1);
});

test("a picture follows from the graph alone, not from the order of its coins and not from chance", () => {
  const spots = arranged(COINS, GROUPS);
  assert.deepEqual([...arranged([...COINS].reverse(), GROUPS)], [...spots]);
  assert.deepEqual([...rearranged(COINS, GROUPS, spots)], [...rearranged([...COINS].reverse(), GROUPS, spots)]);
});

test("from one snapshot to the next coins stay about where they are, and those that are new are near their own", () => {
  const newest = arranged(COINS, GROUPS);
  const before = rearranged(COINS, GROUPS, newest);
  assert.ok(moved(newest, before) < 0.5 * moved(newest, rearranged(COINS, GROUPS, new Map())));
  const changed = GROUPS.map((one, at) => (at % 10 === 0 ? { ...one, target: COINS[at % 24] as string } : one));
  const links = [...changed, edge("NEWUSDT", "C00USDT"), edge("NEWUSDT", "C04USDT")];
  const after = rearranged([...COINS, "NEWUSDT"], links, newest);
  assert.ok(moved(before, after) < 0.06, String(moved(before, after)));
  assert.ok(moved(before, after) < 0.3 * moved(before, arranged(COINS, changed.slice(0, 10))));
  const without = rearranged([...COINS, "NEWUSDT"], changed, newest);
  assert.ok(distance(after, "NEWUSDT", "C00USDT") < distance(without, "NEWUSDT", "C00USDT"));
});

test("coins at one place come apart, a coin alone is in the middle, and none is no error", () => {
  const spots = rearranged(
    ["A", "B"],
    [],
    new Map([
      ["A", { x: 0.5, y: 0.5 }],
      ["B", { x: 0.5, y: 0.5 }],
    ]),
  );
  assert.ok(distance(spots, "A", "B") > 0.01);
  assert.deepEqual([...arranged(["A"], [])], [["A", { x: 0.5, y: 0.5 }]]);
  assert.equal(arranged([], [edge("X", "Y")]).size, 0);
});

test("two thousand coins are given fewer steps than twenty", () => {
  assert.equal(stepsOf(20, 200), 200);
  assert.equal(stepsOf(2047, 200), 10);
  assert.ok((stepsOf(500, 200) * 500 * 500) / 2 <= 12_000_000);
});

function edge(source: string, target: string): GraphEdge {
  return { source, target, weight: 0.9 };
}
