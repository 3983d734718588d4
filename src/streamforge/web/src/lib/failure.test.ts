import assert from "node:assert/strict";
import test from "node:test";
import { toldBy } from "./failure.ts";

test("what happened is told apart from what a worker logged last", () => {
  const killed = 'killed by signal 9 (SIGKILL); it last wrote:\n{"event":"a"}\n{"event":"b"}';
  assert.deepEqual(toldBy(killed), { what: "killed by signal 9 (SIGKILL)", wrote: '{"event":"a"}\n{"event":"b"}' });
  assert.deepEqual(toldBy("no such symbol"), { what: "no such symbol", wrote: "" });
});
