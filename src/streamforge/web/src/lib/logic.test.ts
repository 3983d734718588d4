import assert from "node:assert/strict";
import test from "node:test";
import type { Attempt, EventPage, Step, Summary } from "../api/types.ts";
import { backoffMs } from "./backoff.ts";
import { copiesOf } from "./copies.ts";
import { grown, NOTHING } from "./history.ts";
import { newKey } from "./key.ts";
import { axisOf } from "./lanes.ts";
import { Stalls } from "./stalls.ts";

test("the pause after a failure doubles from 1 s, and never exceeds 30 s", () => {
  const longest = [1, 2, 3, 4, 5, 6, 7, 50].map((failures) => backoffMs(failures, 1));
  assert.deepEqual(longest, [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
  assert.equal(backoffMs(1, 0), 1000);
  assert.equal(backoffMs(6, 0), 15_000);
});

test("a workflow is stalled once its records have not grown for ten seconds", () => {
  const stalls = new Stalls();
  stalls.note([{ id: "a", records: 5 }], 1000);
  stalls.note([{ id: "a", records: 5 }], 9000);
  assert.equal(stalls.since("a", 10_999), null);
  assert.equal(stalls.since("a", 11_000), 1000);
  stalls.note([{ id: "a", records: 6 }], 12_000);
  assert.equal(stalls.since("a", 21_999), null);
  stalls.note([], 22_000);
  assert.equal(stalls.since("a", 99_000), null);
});

function page(first: number, last: number): EventPage {
  const events = Array.from({ length: last - first + 1 }, (_, at) => ({ id: first + at, event: {} }));
  return { queue_id: "wf", events, after: last, more: false };
}

test("a history keeps its newest hundred events and counts all, each once", () => {
  let history = grown(NOTHING, page(0, 149));
  history = grown(history, page(140, 160));
  assert.equal(history.all, 161);
  assert.equal(history.after, 160);
  assert.deepEqual([history.shown.length, history.shown[0]?.id, history.shown.at(-1)?.id], [100, 61, 160]);
  assert.deepEqual(grown(history, { ...page(161, 160), after: -1 }), history);
});

function attempt(number: number, from: string | null, to: string | null): Attempt {
  return { number, started_at: from, ended_at: to } as Attempt;
}

test("attempts lie on the axis where they were, from the first start to the last end", () => {
  const day = "2024-08-01T00:00";
  const steps = [
    { attempts: [attempt(1, `${day}:00Z`, `${day}:25Z`), attempt(2, `${day}:50Z`, null)] },
    { attempts: [attempt(1, null, null)] },
  ] as Step[];
  const axis = axisOf(steps, Date.parse(`${day}:59Z`) + 41_000);
  const spans = axis?.lanes[0]?.spans.map(({ left, width }) => [left, width]);
  assert.deepEqual(spans, [
    [0, 25],
    [50, 50],
  ]);
  assert.deepEqual(axis?.lanes[1]?.spans, []);
  assert.equal(axisOf([{ attempts: [attempt(1, null, null)] }] as Step[], 0), null);
});

test("an attempt of no length can still be seen, within the axis", () => {
  const at = "2024-08-01T00:00:00Z";
  const axis = axisOf([{ attempts: [attempt(1, at, at)] }] as Step[], 0);
  const [span] = axis?.lanes[0]?.spans ?? [];
  assert.ok(span && span.width >= 0.5 && span.left + span.width <= 100);
});

test("what is copied names the workflow, quoted for its reader, without a token", () => {
  const one = { queue_id: "wf-x", symbol: `B"T`, type: "api_candles_1m", time_range: { requested: "2024" } } as Summary;
  assert.deepEqual(copiesOf(one, "http://127.0.0.1:8080"), {
    link: "http://127.0.0.1:8080/ui/workflows/wf-x",
    cli: "streamforge show wf-x --server http://127.0.0.1:8080",
    curl: 'curl -H "Authorization: Bearer $STREAMFORGE_TOKEN" http://127.0.0.1:8080/queues/wf-x',
    python: 'streamforge.load("B\\"T", "api_candles_1m", "2024", server="http://127.0.0.1:8080")',
  });
  assert.match(copiesOf({ ...one, queue_id: "a'b; c" }, "").cli, /^streamforge show 'a'\\''b; c' /);
});

test("a key is new each time and fits the server's pattern", () => {
  const keys = new Set(Array.from({ length: 100 }, newKey));
  assert.equal(keys.size, 100);
  for (const key of keys) assert.match(key, /^[0-9a-f]{32}$/);
});
