import assert from "node:assert/strict";
import test from "node:test";
import type { Summary } from "../api/types.ts";
import type { Change } from "./changes.ts";
import { watching } from "./watching.ts";

function change(id: string, status: string, refused = 0): Change {
  const document = status === "gone" ? null : ({ status, progress: { records_refused: refused } } as Summary);
  return { kind: "workflow", id, document };
}

test("what goes on is asked for seldom, what comes, ends or goes soon", () => {
  const pace = watching((one) => one.status, 1, 9);
  assert.equal(pace([change("a", "running")]), 9);
  assert.equal(pace([change("b", "pending")]), 1);
  assert.equal(pace([change("a", "running"), change("b", "pending")]), 9);
  assert.equal(pace([change("a", "running"), change("b", "running")]), 1);
  assert.equal(pace([change("b", "finished"), change("a", "running")]), 1);
  assert.equal(pace([change("c", "finished")]), 1);
  assert.equal(pace([change("c", "gone")]), 1);
  assert.equal(pace([{ kind: "batch", id: "a", document: null }]), false);
});

test("where progress does not matter, a workflow that was not heard of may have changed", () => {
  const pace = watching((one) => `${one.progress.records_refused}`, 1, false);
  const found = [0, 0, 1, 1].map((refused) => pace([change("a", "running", refused)]));
  assert.deepEqual(found, [1, false, 1, false]);
  for (let n = 0; n < 5000; n += 1) pace([change(`other ${n}`, "running")]);
  assert.equal(pace([change("a", "running", 1)]), 1, "it was forgotten");
});
