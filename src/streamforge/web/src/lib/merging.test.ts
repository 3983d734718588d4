import assert from "node:assert/strict";
import test from "node:test";
import type { Schedule, Schedules, Summary, WorkflowPage } from "../api/types.ts";
import type { Change } from "./changes.ts";
import { Known, merged, mergedSchedules } from "./merging.ts";

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

test("progress is put in place, and all other rows stay the same objects", () => {
  const [page, known] = listed(summary("a"), summary("b"));
  const found = merged(page, [change(summary("b", "running", 4)), change(summary("b", "running", 5))], known);
  assert.equal(found.again, false);
  assert.equal(found.page.queues[0], page.queues[0]);
  assert.equal(found.page.queues[1]?.progress.records_stored, 5);
});

test("a page that does not show what changed is the same object", () => {
  const [page, known] = listed(summary("a"));
  assert.equal(merged(page, [change(summary("z"))], known).page, page);
  assert.equal(merged(page, [{ kind: "batch", id: "a", document: null }], known).again, false);
});

test("another status, a new workflow and one that is gone change the counts, each once", () => {
  const [page, known] = listed(summary("a"));
  for (const one of [
    change(summary("a", "finished")),
    change(summary("new", "pending")),
    { kind: "workflow", id: "new", document: null } as Change,
  ]) {
    assert.equal(merged(page, [one], known).again, true);
    assert.equal(merged(page, [one], known).again, false);
  }
});

test("what is known is bounded: what was heard of last stays", () => {
  const [page, known] = listed();
  const ids = Array.from({ length: 5001 }, (_, at) => `wf-${at}`);
  for (const id of ids) known.same(summary(id));
  assert.equal(merged(page, [change(summary("wf-5000"))], known).again, false);
  assert.equal(merged(page, [change(summary("wf-0"))], known).again, true);
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
