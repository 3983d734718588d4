import assert from "node:assert/strict";
import test from "node:test";
import type { Schedule, Schedules, Summary, WorkflowPage } from "../api/types.ts";
import type { Change } from "./changes.ts";
import { Known, merged, mergedSchedule, mergedSchedules, runsOf } from "./merging.ts";

function summary(id: string, status = "running", stored = 0): Summary {
  return { queue_id: id, status, progress: { records_stored: stored } } as Summary;
}

function change(one: Summary): Change {
  return { kind: "workflow", id: one.queue_id, document: one };
}

function listed(...queues: Summary[]): [WorkflowPage, Known] {
  const known = new Known();
  for (const one of queues) known.same(one);
  return [{ queues, cursor: null } as unknown as WorkflowPage, known];
}

function put(page: WorkflowPage, changes: Change[], known: Known) {
  return merged(page, changes, known, (one) => ({ ...one, made: true }) as Summary);
}

test("progress alone is put into the row, which stays the same object", () => {
  const [page, known] = listed(summary("a"), summary("b"));
  const rows = [...page.queues];
  const found = put(page, [change(summary("b", "running", 4)), change(summary("b", "running", 5))], known);
  assert.deepEqual(found, { page, again: false });
  assert.ok(rows.every((one, at) => one === page.queues[at]));
  assert.deepEqual(
    rows.map((one) => one.progress.records_stored),
    [0, 5],
  );
});

test("anything else makes another row, and all other rows stay the same objects", () => {
  const failed = (next: string) => ({ ...summary("b"), failure: { reason: "full", next_step: next } }) as Summary;
  for (const [before, after] of [
    [summary("b"), failed("wait")],
    [failed("wait"), failed("retry")],
    [failed("wait"), summary("b")],
  ] as const) {
    const [page, known] = listed(summary("a"), before);
    const found = put(page, [change(after)], known);
    assert.deepEqual(found.page.queues, [summary("a"), { ...after, made: true }]);
    assert.equal(found.page.queues[0], page.queues[0]);
    assert.equal(page.queues[1], before);
  }
});

test("a page that does not show what changed is the same object", () => {
  const [page, known] = listed(summary("a"));
  assert.equal(put(page, [change(summary("z"))], known).page, page);
  assert.equal(put(page, [{ kind: "batch", id: "a", document: null }], known).again, false);
});

test("another status, a new workflow and one that is gone change the counts, each once", () => {
  const [page, known] = listed(summary("a"));
  for (const one of [
    change(summary("a", "finished")),
    change(summary("new", "pending")),
    { kind: "workflow", id: "new", document: null } as Change,
  ]) {
    assert.equal(put(page, [one], known).again, true);
    assert.equal(put(page, [one], known).again, false);
  }
});

test("what is known is bounded: what was heard of last stays", () => {
  const [page, known] = listed();
  const ids = Array.from({ length: 5001 }, (_, at) => `wf-${at}`);
  for (const id of ids) known.same(summary(id));
  assert.equal(put(page, [change(summary("wf-5000"))], known).again, false);
  assert.equal(put(page, [change(summary("wf-0"))], known).again, true);
});

test("a schedule is put in place, and one that comes or goes lets the list be read again", () => {
  const schedule = (name: string, failures = 0): Schedule => ({ name, failures }) as Schedule;
  const found: Schedules = { schedules: [schedule("a"), schedule("b")], unreadable: {} };
  const change = (id: string, document: Schedule | null): Change => ({ kind: "schedule", id, document });
  const news = mergedSchedules(found, [change("b", schedule("b", 1)), change("b", schedule("b", 2))]);
  assert.deepEqual([news.again, news.schedules.schedules], [false, [schedule("a"), schedule("b", 2)]]);
  assert.equal(news.schedules.schedules[0], found.schedules[0]);
  assert.equal(mergedSchedules(found, [change("c", schedule("c"))]).again, true);
  assert.equal(mergedSchedules(found, [change("a", null)]).again, true);
  assert.deepEqual(mergedSchedules(found, []), { schedules: found, again: false });
});

test("a run of a schedule is shown once, and all the while, whichever answer knows that it has ended", () => {
  const run = (number: number, state: string) => ({ number, state });
  const of = (current: object | null, ...runs: object[]) =>
    ({ one: { name: "a", current }, runs }) as unknown as Parameters<typeof runsOf>[0];
  const shown = (one: Parameters<typeof runsOf>[0]) => runsOf(one).map(({ number, state }) => `${number} ${state}`);
  const change = (document: object | null, id = "a") => ({ kind: "schedule", id, document }) as Change;
  const running = of(run(2, "running"), run(1, "error"));
  assert.deepEqual(shown(running), ["2 running", "1 error"]);
  assert.deepEqual(shown(of(run(2, "running"), run(2, "finished"), run(1, "error"))), ["2 finished", "1 error"]);
  assert.deepEqual(shown(of(null, run(2, "finished"))), ["2 finished"]);
  const ended = mergedSchedule(running, [change({ name: "a", current: null })], "a");
  assert.deepEqual([shown(ended.found), ended.again], [["2 running", "1 error"], true]);
  const later = mergedSchedule(running, [change({ name: "a", current: run(3, "starting") })], "a");
  assert.deepEqual([shown(later.found), later.again], [["2 running", "1 error"], true]);
  const paused = mergedSchedule(running, [change({ name: "a", current: run(2, "running"), paused: true })], "a");
  assert.deepEqual([shown(paused.found), paused.found.one.paused], [["2 running", "1 error"], true]);
  const begun = mergedSchedule(of(null, run(1, "error")), [change({ name: "a", current: run(2, "starting") })], "a");
  assert.deepEqual([shown(begun.found), begun.again], [["2 starting", "1 error"], true]);
  assert.deepEqual(mergedSchedule(running, [change(null)], "a"), { found: running, again: true });
  assert.deepEqual(mergedSchedule(running, [change(null, "b")], "a"), { found: running, again: false });
});
