import assert from "node:assert/strict";
import test from "node:test";
import type { Change } from "./changes.ts";
import { Untold } from "./untold.ts";

function workflow(id: string, status = "running"): Change {
  return { kind: "workflow", id, document: { queue_id: id, status } } as Change;
}

test("of a document that changes again and again the latest state is told, once", () => {
  const untold = new Untold("r-1");
  assert.equal(untold.take(), null);
  untold.state(true);
  untold.add([workflow("a"), workflow("b")], false, "r-3");
  untold.add([workflow("a", "finished"), { kind: "batch", id: "a", document: null }], false, "r-5");
  assert.deepEqual(untold.take(), {
    live: true,
    again: false,
    changes: [workflow("b"), workflow("a", "finished"), { kind: "batch", id: "a", document: null }],
    lastId: "r-5",
  });
  assert.equal(untold.take(), null);
});

test("what came before all is read again is not told", () => {
  const untold = new Untold();
  untold.add([workflow("a")], false, "r-1");
  untold.add([workflow("b")], true, "r-3");
  assert.deepEqual(untold.take(), { live: false, again: true, changes: [workflow("b")], lastId: "r-3" });
});

test("a stream that breaks off may miss changes, also where it goes on before that is told", () => {
  const untold = new Untold();
  untold.state(true);
  untold.take();
  untold.add([workflow("a")], false, "r-1");
  untold.state(false);
  untold.state(true);
  assert.deepEqual(untold.take(), { live: true, again: true, changes: [], lastId: "r-1" });
  untold.state(true);
  assert.equal(untold.take(), null);
});

test("more than can be held is read again", () => {
  const untold = new Untold();
  for (let number = 0; number < 5000; number += 1) untold.add([workflow(`${number}`)], false, "");
  for (let number = 0; number < 5000; number += 1) untold.add([workflow(`${number}`)], false, "");
  assert.equal(untold.take()?.changes.length, 5000);
  for (let number = 0; number < 5001; number += 1) untold.add([workflow(`${number}`)], false, "r-9");
  assert.deepEqual(untold.take(), { live: false, again: true, changes: [], lastId: "r-9" });
});
