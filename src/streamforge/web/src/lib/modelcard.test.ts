import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import type { Card } from "../api/models.ts";
import { intervalsOf, ladderOf, outcomeOf, signalOf } from "./modelcard.ts";

/** Made by streamforge.analytics.models of a market in which coins tell of themselves and neighbours do not. */
const CARD = JSON.parse(readFileSync(new URL("./modelcard.sample.json", import.meta.url), "utf8")) as Card;

test("a card that was made tells its verdict, and a signal where nothing is void", () => {
  assert.deepEqual([outcomeOf(CARD.verdict.outcome), signalOf(CARD.verdict)], ["no_edge", "yes"]);
  assert.ok(CARD.verdict.reasons.length > 0);
  assert.deepEqual(["edge of the graph", "void", "newer", undefined].map(outcomeOf), [
    "edge",
    "void",
    "unknown",
    "unknown",
  ]);
  assert.deepEqual(signalOf({ outcome: "void", signal: true }), "untold");
  assert.deepEqual(signalOf({ outcome: "no edge", signal: false }), "no");
});

test("the ladder has each model once with the means over its seeds, and the interval of its first seed", () => {
  const ladder = ladderOf(CARD.scores);
  assert.equal(new Set(ladder.map((one) => one.model)).size, ladder.length);
  assert.equal(
    ladder.reduce((sum, one) => sum + one.seeds, 0),
    CARD.scores.length,
  );
  const shuffled = ladder.find((one) => one.model === "shuffled");
  const own = CARD.scores.filter((one) => one.model === "shuffled");
  assert.ok(shuffled && own.length === 5 && shuffled.seeds === 5);
  assert.ok(Math.abs(shuffled.rank_ic - own.reduce((sum, one) => sum + one.rank_ic, 0) / 5) < 1e-12);
  assert.deepEqual([shuffled.low, shuffled.high], [own[0]?.accuracy_low, own[0]?.accuracy_high]);
});

test("differences lie on one scale with 0 in it, and say on which side of 0 they are", () => {
  const { zero, rows } = intervalsOf(CARD.verdict);
  assert.equal(rows.length, CARD.verdict.differences.length);
  for (const one of rows) {
    assert.ok(0 <= one.from && one.from <= one.at && one.at <= one.to && one.to <= 1);
    assert.equal(one.side, one.from > zero ? "above" : one.to < zero ? "below" : "both");
  }
  const difference = { model: "graph", other: "x", seed: 0, mean: 2, low: 1, high: 3 };
  const one = intervalsOf({ ...CARD.verdict, differences: [difference] });
  assert.deepEqual([one.zero, one.rows[0]?.from, one.rows[0]?.to, one.rows[0]?.side], [0, 1 / 3, 1, "above"]);
  const around = intervalsOf({ ...CARD.verdict, differences: [{ ...difference, low: -1 }] });
  assert.deepEqual([around.zero, around.rows[0]?.side], [0.25, "both"]);
  assert.deepEqual(intervalsOf({ ...CARD.verdict, differences: [] }), { zero: 0.5, rows: [] });
});
