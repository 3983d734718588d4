import assert from "node:assert/strict";
import test from "node:test";
import type { HealthReport, Setting } from "../api/types.ts";
import { bytes } from "./bytes.ts";
import { count } from "./format.ts";
import { found, reportText } from "./report.ts";

const SETTINGS = [
  { name: "STREAMFORGE_PORT", value: "8080", origin: "environment", meaning: "the port of the API" },
  { name: "ARANGO_PASSWORD", value: null, origin: "environment", secret: true, meaning: "of the user" },
  { name: "STREAMFORGE_HOST", value: null, origin: "default", meaning: "the address of the API" },
] as Setting[];

const REPORT = {
  checked_at: "2024-08-01T00:00:00Z",
  started_at: "2024-07-31T00:00:00Z",
  verdict: "fails",
  findings: [
    { part: "bus", verdict: "fails", code: "bus-fails", detail: "no broker answers", next_step: "see to it" },
    { part: "store", verdict: "works", code: "works", detail: "it answers", next_step: "" },
  ],
  versions: {
    manager: "0.1.0",
    python: "3.13.1",
    bus: null,
    store: "ArangoDB 3.12.5",
    ui: "i.js",
    workers: { "version 0.1.0": 2 },
  },
  capacity: { workers: null, running: 1, most_running: 8, live: 2, waiting: 3, most: 10_000 },
  exchange: { name: "binance", ahead_seconds: 0.25, weight_used: null, weight_loaders: 4200, weight_manager: 600 },
  store: { used_bytes: 5, limit_bytes: null, free_bytes: 7 },
  schedules: null,
  failures: [{ code: "holes-left", workflows: 4, at: "2024-08-01T00:00:00Z", reason: "holes are left" }],
  settings: SETTINGS,
} as unknown as HealthReport;

test("the text for a bug report has what is wrong with its next step, and of settings those that are set", () => {
  const lines = reportText(REPORT, "Chromium").split("\n");
  assert.equal(lines[0], "StreamForge 0.1.0: fails, checked at 2024-08-01T00:00:00Z");
  assert.deepEqual(lines.slice(2, 5), [
    "fails bus (bus-fails): no broker answers",
    "  next: see to it",
    "works store (works): it answers",
  ]);
  for (const line of [
    "bus: not known",
    "workers: version 0.1.0 (2)",
    "weight a minute: used ?, loaders 4200, manager 600",
    "store bytes: 5 of ?, free on disk 7",
    "failed: holes-left 4, latest 2024-08-01T00:00:00Z: holes are left",
    "STREAMFORGE_PORT=8080",
    "ARANGO_PASSWORD=(not shown)",
  ]) {
    assert.ok(lines.includes(line), line);
  }
  assert.ok(!lines.some((line) => line.startsWith("STREAMFORGE_HOST")));
});

test("settings are found by words of their name and meaning", () => {
  const names = (words: string, set: boolean): string[] => found(SETTINGS, words, set).map((one) => one.name);
  assert.deepEqual(names("api THE", false), ["STREAMFORGE_PORT", "STREAMFORGE_HOST"]);
  assert.deepEqual(names("api", true), ["STREAMFORGE_PORT"]);
  assert.deepEqual(names("nothing", false), []);
});

test("bytes have three digits, in decimal units", () => {
  const found = [0, 999, 1000, 999_499, 999_500, 64_233_000_000, 5e15].map((size) => bytes(size, "en"));
  assert.deepEqual(found, ["0 B", "999 B", "1 kB", "999 kB", "1 MB", "64.2 GB", "5,000 TB"]);
  assert.equal(bytes(1500, "ru").replace(/\u00a0/g, " "), "1,5 кБ");
});

test("digits come in groups, or in none", () => {
  assert.deepEqual([count(1_234_567, "en"), count(1_234_567, "en", false)], ["1,234,567", "1234567"]);
});
