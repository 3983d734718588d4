import assert from "node:assert/strict";
import test from "node:test";
import type { Letter } from "../api/bus.ts";
import type { Workflow } from "../api/types.ts";
import { indented, keyed, keyOf, preview, shown, visible } from "./letters.ts";
import { begun, outcome, over, sinceAttempt } from "./replays.ts";

function letter(value: string | Uint8Array, more: Partial<Letter> = {}): Letter {
  const text = typeof value === "string";
  const size = text ? new TextEncoder().encode(value).length : value.length;
  const given = text ? value : btoa(String.fromCharCode(...value));
  const place = { topic: "wf-data", partition: 0, offset: 7, target: null, attempt: 1 };
  const rest = { reason: "r", code: "not-a-record" as const, time: "2024-08-01T00:00:00Z", key: null, cut: false };
  return { ...place, ...rest, encoding: text ? "utf-8" : "base64", value: given, size, ...more };
}

test("JSON gets line breaks, and every digit and escape of it stays", () => {
  const json = '{"a":12345678901234567890.10,"b":[],"c":{},"d":[1,{"e":"x, {\\"y\\": 1}"}],"a":null}';
  assert.deepEqual(shown(letter(json)), {
    form: "json",
    text: [
      "{",
      '  "a": 12345678901234567890.10,',
      '  "b": [],',
      '  "c": {},',
      '  "d": [',
      "    1,",
      "    {",
      '      "e": "x, {\\"y\\": 1}"',
      "    }",
      "  ],",
      '  "a": null',
      "}",
    ].join("\n"),
  });
  assert.equal(indented(json).replace(/\n */g, "").replaceAll(": ", ":"), json.replaceAll(": ", ":"));
});

test("JSON that is nested deeply is shown, and grows little", () => {
  const deep = "[".repeat(2000) + "]".repeat(2000);
  const found = shown(letter(deep));
  assert.equal(found.form, "json");
  assert.ok(found.text.length < 30 * deep.length);
});

test("what is no JSON object, or cut, is text; what is no text is hexadecimal; nothing is empty", () => {
  assert.deepEqual(shown(letter("no JSON")), { form: "text", text: "no JSON" });
  assert.deepEqual(shown(letter("12")), { form: "text", text: "12" });
  assert.deepEqual(shown(letter('{"a":1}', { cut: true })), { form: "text", text: '{"a":1}' });
  assert.deepEqual(shown(letter("")), { form: "empty", text: "" });
  const bytes = Uint8Array.from([0xff, 0x00, ...new TextEncoder().encode("<script>abcdefg")]);
  assert.deepEqual(shown(letter(bytes)), {
    form: "hex",
    text: `000000  ff 00 3c 73 63 72 69 70 74 3e 61 62 63 64 65 66  ..<script>abcdef\n000010  67${" ".repeat(45)}  g`,
  });
});

test("what cannot be seen is written out", () => {
  assert.equal(visible("a\u202eb\u200b\u0000\n\tc\u2066"), "a\\u202eb\\u200b\\u0000\n\tc\\u2066");
  assert.equal(preview(letter("a\n\u202eb")), "a \\u202eb");
  assert.equal(preview(letter("x".repeat(5000), { size: 5_000_000, cut: true })), `${"x".repeat(120)}…`);
  assert.equal(preview(letter(Uint8Array.from([1, 255]))), "01 ff");
  assert.deepEqual(
    [keyOf(letter("")), keyOf(letter("", { key: "k\u202e" })), keyOf(letter(Uint8Array.from([1]), { key: "/w==" }))],
    [null, "k\\u202e", "ff"],
  );
});

test("letters of one place have keys of their own", () => {
  assert.deepEqual(
    keyed([letter("a"), letter("b"), letter("c", { offset: 8 })]).map((one) => one.key),
    ["wf-data:0:7 1", "wf-data:0:7 2", "wf-data:0:8 1"],
  );
});

function workflow(status: string, endedAt: string | null, ...attempts: object[]): Workflow {
  const steps = [
    { target: "loader", role: "loader", attempts: [{ number: 9, status: "finished" }] },
    { target: "sink", role: "sink", attempts: attempts.map((one) => ({ error: null, reason: null, ...one })) },
  ];
  return { status, ended_at: endedAt, failure: null, steps } as unknown as Workflow;
}

test("a replay is over once the workflow has ended again, and tells what came back and why", () => {
  const first = { number: 3, status: "finished" };
  const before = workflow("finished", "T1", first);
  const replay = begun(before, 3, 10);
  assert.equal(sinceAttempt(replay), 4);
  assert.equal(over(replay, before), false);
  assert.equal(over(replay, workflow("running", null, first, { number: 4, status: "running" })), false);
  const ended = workflow("finished", "T2", first, { number: 4, status: "finished" });
  assert.equal(over(replay, ended), true);
  const back = [letter("x", { attempt: 4, reason: "why" })];
  assert.deepEqual(outcome(replay, ended, 8, back), {
    failed: null,
    stored: 2,
    back: 1,
    reasons: [{ code: "not-a-record", count: 1, example: "why" }],
  });
  assert.deepEqual([outcome(replay, ended, 7, []).stored, outcome(replay, ended, 7, []).back], [3, 0]);
});

test("a replay that failed says why, also one of which no worker could be started", () => {
  const first = { number: 3, status: "finished" };
  const replay = begun(workflow("error", "T1", first), 3, 10);
  const failed = workflow("error", "T2", first, { number: 4, status: "error", error: "it is full" });
  assert.equal(outcome(replay, failed, 10, []).failed, "it is full");
  const none = { ...workflow("error", "T2", first), failure: { reason: "no image", next_step: "n", code: "c" } };
  assert.equal(outcome(replay, none as Workflow, 10, []).failed, "no image");
});
