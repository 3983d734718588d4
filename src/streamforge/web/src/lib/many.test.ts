import assert from "node:assert/strict";
import test from "node:test";
import { type Done, toEach } from "./many.ts";

test("each is done once, four at a time, and a failure stops none of the others", async () => {
  const ids = Array.from({ length: 11 }, (_, at) => `wf-${at}`);
  const seen: string[] = [];
  const told: Done[] = [];
  let open = 0;
  let most = 0;
  const act = async (id: string): Promise<void> => {
    seen.push(id);
    open += 1;
    most = Math.max(most, open);
    await new Promise((resolve) => setImmediate(resolve));
    open -= 1;
    if (id === "wf-3") throw new Error("no");
  };
  const done = await toEach(ids, act, (one) => told.push(one));
  assert.deepEqual([...seen].sort(), [...ids].sort());
  assert.equal(most, 4);
  assert.deepEqual([done.well, done.failed.map((one) => one.id)], [10, ["wf-3"]]);
  assert.deepEqual(
    told.map((one) => one.well + one.failed.length).sort((a, b) => a - b),
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
  );
});
