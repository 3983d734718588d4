import assert from "node:assert/strict";
import test from "node:test";
import type { Attempt, Step } from "../api/types.ts";
import { axisOf } from "./lanes.ts";

const DAY = Date.parse("2024-08-01T00:00:00Z");

/** from, to: seconds of the day; null: it has not ended. */
function attempt(number: number, from: number | null, to: number | null, status = "finished"): Attempt {
  const at = (seconds: number | null) => (seconds === null ? null : new Date(DAY + seconds * 1000).toISOString());
  return { number, status, started_at: at(from), ended_at: at(to) } as Attempt;
}

function axis(nowS: number, ...lanes: Attempt[][]) {
  return axisOf(lanes.map((attempts) => ({ attempts })) as Step[], DAY + nowS * 1000);
}

function spans(found: ReturnType<typeof axis>, lane = 0): number[][] {
  return found?.lanes[lane]?.spans.map(({ left, width }) => [left, width]) ?? [];
}

test("attempts lie on the axis where they were, from the first start to the last end", () => {
  const found = axis(
    100,
    [attempt(1, 0, 25), attempt(2, 25, null, "running")],
    [attempt(1, 50, 75), attempt(2, null, null)],
  );
  assert.deepEqual(spans(found, 0), [
    [0, 25],
    [25, 75],
  ]);
  assert.deepEqual(spans(found, 1), [[50, 25]]);
  assert.deepEqual([found?.startMs, found?.endMs, found?.breaks], [DAY, DAY + 100_000, []]);
  assert.equal(axis(0, [attempt(1, null, null)]), null);
});

test("a long idle time is drawn short, and a short one as it was", () => {
  // 100 s of work: an idle hour counts as 5 s, an idle second as itself.
  const found = axis(0, [attempt(1, 0, 47), attempt(2, 47 + 3600, 97 + 3600), attempt(3, 98 + 3600, 101 + 3600)]);
  const of = (seconds: number) => (100 * seconds) / 106;
  assert.deepEqual(
    spans(found)
      .flat()
      .map((one) => one.toFixed(6)),
    [0, of(47), of(52), of(50), of(103), of(3)].map((one) => one.toFixed(6)),
  );
  assert.deepEqual(
    found?.breaks.map((one) => [one.left.toFixed(6), one.width.toFixed(6), one.seconds]),
    [[of(47).toFixed(6), of(5).toFixed(6), 3600]],
  );
});

test("an attempt of no length can still be seen, within the axis", () => {
  const [found] = spans(axis(0, [attempt(1, 0, 0)]));
  assert.ok(found && (found[1] ?? 0) >= 0.5 && (found[0] ?? 0) + (found[1] ?? 0) <= 100);
});

test("a thousand attempts one behind the other take few elements, and none is lost", () => {
  const many = Array.from({ length: 1000 }, (_, at) => attempt(at, at, at + 0.5, at === 500 ? "error" : "finished"));
  const found = axis(0, many)?.lanes[0]?.spans ?? [];
  assert.ok(found.length <= 200, `${found.length}`);
  assert.equal(
    found.reduce((sum, one) => sum + one.attempts, 0),
    1000,
  );
  assert.equal(found.filter((one) => one.status === "error").length, 1);
});
