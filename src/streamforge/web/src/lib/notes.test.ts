import assert from "node:assert/strict";
import test from "node:test";
import { noteValues } from "./notes.ts";

const FORMATS = {
  bytes: (value: number) => `${value} B`,
  duration: (seconds: number) => `${seconds} s`,
  instant: (ms: number) => `at ${ms}`,
  range: (startMs: number, endMs: number) => `[${startMs}, ${endMs})`,
};

test("a value is shown in the unit of its name, and two instants as a range", () => {
  const values = { free_bytes: 5, begin_s: 2, until_ms: 7, n: 3, day: "2024-08-01" };
  const shown = { free_bytes: "5 B", begin_s: "2 s", until_ms: "at 7", n: 3, day: "2024-08-01" };
  assert.deepEqual(noteValues(values, FORMATS), shown);
  assert.equal(noteValues({ start_ms: 1, end_ms: 2 }, FORMATS).range, "[1, 2)");
});
