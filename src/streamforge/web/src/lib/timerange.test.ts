import assert from "node:assert/strict";
import test from "node:test";
import { resolved } from "./timerange.ts";

const NOW = Date.UTC(2024, 7, 10, 12, 0, 0) + 345;

function iso(text: string): string[] | null {
  const found = resolved(text, NOW);
  return found && [found.startMs, found.endMs].map((ms) => new Date(ms).toISOString().replace(".000Z", "Z"));
}

test("a range means what the server takes it for", () => {
  for (const [text, start, end] of [
    ["2024", "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"],
    ["2023-12", "2023-12-01T00:00:00Z", "2024-01-01T00:00:00Z"],
    ["2024-08-01", "2024-08-01T00:00:00Z", "2024-08-02T00:00:00Z"],
    ["2024-08-01T12:30Z", "2024-08-01T00:00:00Z", "2024-08-02T00:00:00Z"],
    ["2024-08-01T12:30Z:2024-08-01T12:31:15.250Z", "2024-08-01T12:30:00Z", "2024-08-01T12:31:15.250Z"],
    ["2024-07:2024-08", "2024-07-01T00:00:00Z", "2024-08-01T00:00:00Z"],
    ["2024:", "2024-01-01T00:00:00Z", "2024-08-10T12:00:00Z"],
    ["today", "2024-08-10T00:00:00Z", "2024-08-10T12:00:00Z"],
    ["yesterday", "2024-08-09T00:00:00Z", "2024-08-10T00:00:00Z"],
    ["-30d", "2024-07-11T12:00:00Z", "2024-08-10T12:00:00Z"],
    ["-2Days:-1D", "2024-08-08T12:00:00Z", "2024-08-09T12:00:00Z"],
    ["-90m", "2024-08-10T10:30:00Z", "2024-08-10T12:00:00Z"],
    ["-6M", "2024-02-10T12:00:00Z", "2024-08-10T12:00:00Z"],
    ["2024-01-31:+1M", "2024-01-31T00:00:00Z", "2024-02-29T00:00:00Z"],
    ["2023-08:+1y", "2023-08-01T00:00:00Z", "2024-08-01T00:00:00Z"],
  ] as const) {
    assert.deepEqual(iso(text), [start, end], text);
  }
});

test("what the server refuses means nothing", () => {
  for (const text of [
    "",
    "now",
    "30d",
    "2024-8",
    "2024-02-30",
    "2024-13",
    "1969",
    "9999",
    "2024-08-02:2024-08-01",
    "2024-08-01:2024-08-01",
    "2025:",
    "-3parsecs",
    "-99y",
    "2024-08-01T12:30",
    "2024-08-01 2024-08-02",
    "-1d:+1x",
    "now:+1d",
  ]) {
    assert.equal(resolved(text, NOW), null, text);
  }
});
