import assert from "node:assert/strict";
import test from "node:test";
import { healthy, type Live, type LiveState, liveAt, reasonOf, skewS } from "./livestate.ts";

const TOLD_MS = 1_800_000_000_000;

function told(live: Partial<Live>, undriven: string | null = null) {
  const given = { state: "live", proven_through_ms: null, behind_seconds: null, frame_age_seconds: null, ...live };
  return { live: given as Live, undriven };
}

test("ages go on from when the answer was made, by the instant that is proven", () => {
  const one = told({ proven_through_ms: TOLD_MS - 1500, behind_seconds: 1.5, frame_age_seconds: 0.25 });
  assert.deepEqual(liveAt(one, TOLD_MS, TOLD_MS), { state: "live", provenS: 1.5, frameS: 0.25 });
  assert.deepEqual(liveAt(one, TOLD_MS, TOLD_MS + 30_000), { state: "live", provenS: 31.5, frameS: 30.25 });
  // It came half a minute after it was made.
  assert.deepEqual(liveAt(one, TOLD_MS + 30_000, TOLD_MS + 30_000), { state: "live", provenS: 31.5, frameS: 30.25 });
});

test("where nothing is proven ages go on from when the answer came", () => {
  const one = told({ state: "syncing", frame_age_seconds: 2 });
  assert.deepEqual(liveAt(one, TOLD_MS, TOLD_MS + 3000), { state: "syncing", provenS: null, frameS: 5 });
  const ahead = told({ proven_through_ms: TOLD_MS + 700, behind_seconds: 0, frame_age_seconds: 0 });
  assert.deepEqual(liveAt(ahead, TOLD_MS, TOLD_MS + 3000), { state: "live", provenS: 3, frameS: 3 });
});

test("a moment before the answer came makes nothing younger", () => {
  const one = told({ proven_through_ms: TOLD_MS - 4000, behind_seconds: 4, frame_age_seconds: 1 });
  assert.deepEqual(liveAt(one, TOLD_MS, TOLD_MS - 2000), { state: "live", provenS: 4, frameS: 1 });
});

test("no frame for a minute is not live, whatever was told last; other states stay", () => {
  const at = (state: Live["state"], ms: number) =>
    liveAt(told({ state, proven_through_ms: TOLD_MS - 1000, behind_seconds: 1, frame_age_seconds: 1 }), 0, ms)?.state;
  assert.equal(at("live", TOLD_MS + 59_000), "live");
  assert.equal(at("live", TOLD_MS + 59_001), "behind");
  for (const state of ["syncing", "suspect", "ended"] as const) assert.equal(at(state, TOLD_MS + 600_000), state);
});

test("what nobody drives is not called live, and what is not live has no state", () => {
  assert.equal(liveAt(told({}, "no manager"), 0, 0)?.state, "undriven");
  assert.equal(liveAt({ live: null, undriven: null }, 0, 0), null);
});

test("clocks that differ by more than five seconds are told of", () => {
  const at = (ms: number | null) => skewS(told({ clock_offset_ms: ms }).live);
  assert.deepEqual([at(null), at(5000), at(-5000), at(5001), at(-7500)], [null, null, null, 5.001, -7.5]);
});

test("the reason is what tells most of a state", () => {
  const why = (state: LiveState, live: Partial<Live>, provenS: number | null = 1, frameS: number | null = 1) =>
    reasonOf(told({ open_holes: 0, trust: null, ...live }).live, { state, provenS, frameS });
  assert.equal(why("syncing", { trust: "unverifiable" }, null), "nothing");
  assert.equal(why("syncing", { trust: "unverifiable" }), "unverified");
  assert.equal(why("syncing", {}), "history");
  assert.equal(why("behind", {}, 300, 61), "silent");
  assert.deepEqual([why("behind", {}, 300, 60), why("behind", {}, 300, null)], ["late", "late"]);
  assert.equal(why("suspect", { open_holes: 2, trust: "suspect" }), "holes");
  assert.equal(why("suspect", { trust: "suspect" }), "doubtful");
  for (const state of ["live", "ended", "undriven"] as const) assert.equal(why(state, {}), state);
});

test("only what is proven up to now, or closed, is well", () => {
  const states = ["live", "ended", "syncing", "behind", "suspect", "undriven"] as const;
  assert.deepEqual(states.filter(healthy), ["live", "ended"]);
});
