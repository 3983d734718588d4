import assert from "node:assert/strict";
import test from "node:test";
import { makingOf, outputOf } from "./analyst.ts";

const BASE = {
  status: "finished",
  graph: null,
  model: null,
  collection: "own_scores",
  steps: [{ parameters: {} }],
} as const;

test("what an analyst makes follows from the type, and others store records", () => {
  const types = ["gnn_graph", "gnn_train", "gnn_score", "api_candles_1m", "json", "constructor"];
  assert.deepEqual(types.map(makingOf), ["graph", "model", "scores", null, null, null]);
});

test("a graph is written as documents and objects, and has a screen once it is finished", () => {
  const one = { ...BASE, type: "gnn_graph", graph: "six" };
  const output = { making: "graph", name: "six", path: "/graphs/six", objects: "graphs/six/" };
  const collections = ["six_nodes", "six_edges", "six_snapshots"];
  assert.deepEqual(outputOf(one), { ...output, collections });
  assert.deepEqual(outputOf({ ...one, status: "running" }), { ...output, collections, path: null });
  const steps = [{ parameters: { stored: "none" } }];
  assert.deepEqual(outputOf({ ...one, steps }), { ...output, collections: [] });
});

test("a model is written as objects, its scores as documents, and a model that scores was there before", () => {
  const one = { ...BASE, type: "gnn_train", model: "own" };
  const output = { making: "model", name: "own", path: "/models/own", collections: [], objects: "models/own/" };
  assert.deepEqual(outputOf(one), output);
  assert.deepEqual(outputOf({ ...one, status: "error" }), { ...output, path: null });
  const scores = { making: "scores", name: "own", path: "/models/own", collections: ["own_scores"], objects: "" };
  assert.deepEqual(outputOf({ ...one, type: "gnn_score", status: "running" }), scores);
});

test("a workflow that stores records has no such output", () => {
  assert.equal(outputOf({ ...BASE, type: "api_candles_1m" }), null);
});
