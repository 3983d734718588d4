import assert from "node:assert/strict";
import test from "node:test";
import { logParts } from "./loglines.ts";

const AT = "2024-08-01T12:30:05.250000Z";
const instant = (ms: number): string => `at ${Math.floor(ms / 1000)}`;
const line = (fields: object): string => `${JSON.stringify({ timestamp: AT, level: "info", ...fields })}\n`;

test("a line has time, level, message, then its fields", () => {
  const fields = { event: "asked again", of: "wf-1", why: "no answer", n: 3, left: null, ids: [1, 2], empty: "" };
  const [part, ...more] = logParts(line(fields), instant);
  assert.deepEqual(more, []);
  const text = 'at 1722515405.250 info    asked again of=wf-1 why="no answer" n=3 left=null ids=[1,2] empty=""\n';
  assert.deepEqual(part, { text, bad: false, trace: "" });
});

test("what is no line of ours stays as it is", () => {
  const text = `ead": 1}\nTraceback (most recent call last):\n  {"a": 1}\n{"a": "x"}\n[1]\nnull\n{"event": 1}\n`;
  assert.deepEqual(logParts(text, instant), [{ text, bad: false, trace: "" }]);
  assert.deepEqual(logParts("", instant), [{ text: "", bad: false, trace: "" }]);
});

test("a traceback is apart from its line, and errors from other lines", () => {
  const text = [
    line({ event: "a" }),
    line({ event: "b" }),
    line({ event: "failed", level: "error", exception: "Traceback:\n  File x", of: "s" }),
    line({ event: "again", level: "warning" }),
    "plain",
  ].join("");
  const found = logParts(text, instant);
  assert.deepEqual(
    found.map((part) => [part.text.split("\n").length - 1, part.bad, part.trace]),
    [
      [2, false, ""],
      [1, true, "Traceback:\n  File x"],
      [1, true, ""],
      [0, false, ""],
    ],
  );
  assert.match(found[1]?.text ?? "", / error {3}failed of=s\n$/);
});

test("no text can look like another line, or hide", () => {
  const [part] = logParts(line({ event: "a\nb", "c\nd": "e\nf", g: "\u202eh" }), instant);
  assert.equal(part?.text, 'at 1722515405.250 info    "a\\nb" "c\\nd"="e\\nf" g=\\u202eh\n');
});

test("an object of another program is a line of fields too", () => {
  const found = (fields: object): string => logParts(`${JSON.stringify(fields)}\n`, instant)[0]?.text ?? "";
  assert.equal(found({ ts: 1722515405.25, level: "WARN", msg: "slow", n: 1 }), "at 1722515405.250 WARN    slow n=1\n");
  assert.equal(found({ time: 1722515405250, severity: "INFO", message: "up" }), "at 1722515405.250 INFO    up\n");
  assert.equal(found({ event: "x" }), "x\n");
  assert.equal(found({ timestamp: "?", level: "info", event: "x" }), "info    x timestamp=?\n");
  assert.equal(logParts('{"level": "FATAL", "msg": "x"}', instant)[0]?.bad, true);
});
