import assert from "node:assert/strict";
import test from "node:test";
import type { Bars } from "../api/types.ts";
import { Pause } from "./backoff.ts";
import { BarTail, leftBehind } from "./bartail.ts";
import type { Asked } from "./view.ts";

const MINUTE_MS = 60_000;

function barsOf(startMs: number, endMs: number): Bars {
  const time = Array.from({ length: (endMs - startMs) / MINUTE_MS }, (_, at) => startMs + at * MINUTE_MS);
  const columns = Object.fromEntries(
    ["open", "high", "low", "close", "volume", "n", "expected", "verdict"].map((name) => [name, time.map(() => 1)]),
  );
  return {
    ...columns,
    time,
    start_ms: startMs,
    end_ms: endMs,
    interval: "1m",
    step_ms: MINUTE_MS,
    computing: 0,
  } as never;
}

test("the last bars come behind the others, and are asked for once at a time", async () => {
  const asked: Asked[] = [];
  const tail = new BarTail(async (one) => {
    asked.push(one);
    return barsOf(one.startMs, one.endMs);
  });
  const old = barsOf(0, 100 * MINUTE_MS);
  const [all, second] = await Promise.all([tail.behind(old, 101.5 * MINUTE_MS), tail.behind(old, 101.5 * MINUTE_MS)]);
  assert.deepEqual([all?.end_ms, all?.time.length, second, asked.length], [102 * MINUTE_MS, 102, null, 1]);
  assert.equal(await tail.behind(old, 1000 * MINUTE_MS), null, "so many are another picture");
  assert.deepEqual([leftBehind(old, 145 * MINUTE_MS), leftBehind(old, 145 * MINUTE_MS + 1)], [0, 46 * MINUTE_MS]);
  assert.equal(leftBehind({ ...old, step_ms: null }, 1000 * MINUTE_MS), 0, "bars of months have no length");
});

test("after a failure nothing is asked before the pause is over that the server wants", async () => {
  let [now, asked, well] = [0, 0, false];
  const tail = new BarTail(
    async (one) => {
      asked += 1;
      if (!well) throw Object.assign(new Error("busy"), { retryAfterS: 90 });
      return barsOf(one.startMs, one.endMs);
    },
    new Pause(
      () => now,
      () => 1,
    ),
  );
  const old = barsOf(0, 100 * MINUTE_MS);
  await assert.rejects(tail.behind(old, 0), /busy/);
  now = 89_999;
  assert.equal(await tail.behind(old, 0), null);
  assert.equal(asked, 1);
  [now, well] = [90_000, true];
  assert.notEqual(await tail.behind(old, 0), null);
  assert.notEqual(await tail.behind(old, 0), null, "it is over");
  assert.equal(asked, 3);
});
