import assert from "node:assert/strict";
import test from "node:test";
import type { Topic } from "../api/bus.ts";
import { heardAt, orderOf, sorted } from "./topics.ts";

function topic(name: string, more: Partial<Topic>): Topic {
  return { name, readers: [], messages: 0, bytes: null, rate: null, lag: null, ...more } as Topic;
}

test("topics are in the order that is asked for, and what is not known comes last", () => {
  const all = [topic("b", { lag: 0 }), topic("c", { lag: 7, bytes: 5 }), topic("a", {})];
  const names = (order: string): string =>
    sorted(all, orderOf(order))
      .map((one) => one.name)
      .join("");
  assert.deepEqual([names("name"), names("lag"), names("bytes"), names("nonsense")], ["abc", "cba", "cab", "abc"]);
});

test("the reader that was heard of last counts", () => {
  const heard = (...times: (string | null)[]): string | null =>
    heardAt(topic("a", { readers: times.map((seen_at) => ({ seen_at })) as Topic["readers"] }));
  assert.equal(heard("2024-08-01T00:00:00Z", null, "2024-08-01T00:00:00.500Z"), "2024-08-01T00:00:00.500Z");
  assert.deepEqual([heard(), heard(null)], [null, null]);
});
