import assert from "node:assert/strict";
import test from "node:test";
import type { EventPage, Workflow } from "../api/types.ts";
import { backoffMs } from "./backoff.ts";
import { copiesOfWorkflow } from "./copies.ts";
import { grown, NOTHING, windowOf } from "./history.ts";
import { newKey } from "./key.ts";
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
  const events = Array.from({ length: last - first + 1 }, (_, at) => ({
    id: first + at,
    event: { event: (first + at) % 10 === 0 ? "started" : "loading" },
  }));
  return { queue_id: "wf", events, after: last, more: false } as unknown as EventPage;
}

test("a history keeps its newest ten thousand events and counts all, each once", () => {
  let history = grown(NOTHING, page(0, 9999));
  history = grown(history, page(9990, 10_060));
  assert.deepEqual([history.all, history.after], [10_061, 10_060]);
  assert.deepEqual([history.kept.length, history.kept[0]?.id, history.kept.at(-1)?.id], [10_000, 61, 10_060]);
  assert.equal(grown(history, { ...page(10_061, 10_060), after: -1 }), history);
});

test("a page of events is shown at once, newest first, heartbeats only where they are wanted", () => {
  const history = grown(NOTHING, page(0, 1199));
  const ids = (found: ReturnType<typeof windowOf>) => [found.rows.length, found.rows[0]?.id, found.rows.at(-1)?.id];
  assert.deepEqual(ids(windowOf(history, true, 0)), [25, 1199, 1175]);
  assert.deepEqual(ids(windowOf(history, true, 47)), [25, 24, 0]);
  const without = windowOf(history, false, 2);
  assert.deepEqual([...ids(without), without.pages, without.page], [25, 690, 450, 5, 2]);
  assert.deepEqual(ids(windowOf(history, false, 99)), [20, 190, 0]);
  assert.deepEqual(windowOf(NOTHING, true, 5), { rows: [], page: 0, pages: 1, left: 0 });
  assert.equal(without.left, 1080);
});

test("what is copied names the workflow, quoted for its reader, without a token", () => {
  const one = {
    queue_id: "wf-x",
    symbol: `B"T`,
    type: "api_candles_1m",
    time_range: { requested: "2024" },
    made_of: null,
    topic_input: null,
  } as Workflow;
  assert.deepEqual(copiesOfWorkflow(one, "http://127.0.0.1:8080"), {
    link: "http://127.0.0.1:8080/ui/workflows/wf-x",
    cli: "streamforge show wf-x --server http://127.0.0.1:8080",
    curl: 'curl -H "Authorization: Bearer $STREAMFORGE_TOKEN" http://127.0.0.1:8080/queues/wf-x',
    python: 'streamforge.load("B\\"T", "api_candles_1m", "2024", server="http://127.0.0.1:8080")',
  });
  assert.match(copiesOfWorkflow({ ...one, queue_id: "a'b; c" }, "").cli, /^streamforge show 'a'\\''b; c' /);
});

test("what loads no series is asked for by Python, and not loaded as one", () => {
  const made_of = { symbols: ["BTCUSDT"], type: "api_candles_1h", batch: null };
  const graph = { queue_id: "wf-x", symbol: "TOP4", type: "gnn_graph", made_of, topic_input: null };
  const one = { ...graph, time_range: { requested: "2024" } } as Workflow;
  const topic = { ...one, made_of: null, topic_input: { topic: "t" } } as Workflow;
  for (const { python, cli } of [one, topic].map((each) => copiesOfWorkflow(each, "http://h:1"))) {
    assert.doesNotMatch(python, /streamforge\.load/);
    assert.match(python, /^ {4}"http:\/\/h:1\/queues\/wf-x",$/m);
    assert.equal(cli, "streamforge show wf-x --server http://h:1");
  }
});

test("a key is new each time and fits the server's pattern", () => {
  const keys = new Set(Array.from({ length: 100 }, newKey));
  assert.equal(keys.size, 100);
  for (const key of keys) assert.match(key, /^[0-9a-f]{32}$/);
});
