import assert from "node:assert/strict";
import test from "node:test";
import type { AttemptLog, Step } from "../api/types.ts";
import { choicesOf, extended, firstStep } from "./tail.ts";

function log(attempt: number, text: string | null, resumed = false): AttemptLog {
  return { step: "s", attempt, job: "", ended: false, text, resumed };
}

function lines(from: number, to: number): string {
  return Array.from({ length: to - from }, (_, at) => `line ${from + at}\n`).join("");
}

test("what comes is put behind what is there, and the last 500 lines are kept", () => {
  let tail = extended(null, log(1, lines(0, 3)));
  tail = extended(tail, log(1, "", true));
  assert.equal(tail.text, lines(0, 3));
  tail = extended(tail, log(1, lines(3, 900), true));
  assert.equal(tail.text, lines(400, 900));
});

test("another attempt, or one that lost lines, begins anew", () => {
  const tail = extended(null, log(1, "a\n"));
  assert.equal(extended(tail, log(2, "b\n", true)).text, "b\n");
  assert.equal(extended(tail, log(1, "c\n")).text, "c\n");
  assert.equal(extended(tail, log(1, null)).text, null);
  assert.equal(extended(extended(null, log(1, null)), log(1, "d\n", true)).text, "d\n");
});

test("each attempt whose log is kept can be chosen, and the failed step comes first", () => {
  const many = Array.from({ length: 20 }, (_, at) => ({ number: at + 1 }));
  const sink = { target: "s", role: "sink", failure: null, attempts: many };
  const loader = { target: "l", role: "loader", failure: null, attempts: [{ number: 1 }, { number: 2 }] };
  const steps = [sink, loader] as unknown as Step[];
  const found = choicesOf(steps).map((one) => `${one.step}:${one.number}`);
  assert.deepEqual([found.slice(0, 5), found.at(-1)], [["l:0", "l:2", "l:1", "s:0", "s:20"], "s:5"]);
  assert.equal(firstStep(steps), "l");
  assert.equal(firstStep([{ ...sink, failure: { reason: "x" } }, loader] as unknown as Step[]), "s");
  assert.equal(firstStep([]), null);
});

test("the log opens on the loader whose attempt is newest, not on one that never ran", () => {
  const of = (target: string, role: string, ...begun: string[]) =>
    ({
      target,
      role,
      failure: null,
      attempts: begun.map((started_at) => ({ started_at, status: "running" })),
    }) as unknown as Step;
  const [idle, old, late] = [
    of("idle", "loader"),
    of("old", "loader", "2024-08-01T00"),
    of("late", "loader", "2024-08-01T01"),
  ];
  const sink = of("sink", "sink", "2024-08-01T02");
  assert.equal(firstStep([sink, idle, old]), "old");
  assert.equal(firstStep([sink, old, late, idle]), "late");
  assert.equal(firstStep([idle, sink]), "sink");
  assert.equal(firstStep([sink, idle]), "sink");
  assert.equal(firstStep([idle]), "idle");
  const broken = { ...sink, attempts: [{ started_at: "2024-08-01T00", status: "error" }] } as unknown as Step;
  assert.equal(firstStep([broken, old]), "sink");
});
