import assert from "node:assert/strict";
import test from "node:test";
import type { CoinMoment, GraphEdge, GraphNode } from "../api/graphs.ts";
import {
  columnsOf,
  definitionWords,
  drawnOf,
  isDirected,
  latestAt,
  lineOf,
  namedOf,
  pathPoints,
  shareOf,
  sortedBy,
  spanOf,
  strokeOf,
} from "./graphs.ts";

function edge(source: string, target: string, weight: number): GraphEdge {
  return { source, target, weight };
}
function node(symbol: string, values: GraphNode["values"] = {}): GraphNode {
  return { symbol, values };
}

test("a definition is told by its method, step, edges and features, and nothing is told of one that is not known", () => {
  const common = { window: 168, step: 24, interval: "1h", lag: 0, sign: "positive", top_k: null, threshold: null };
  const words = (more: object): string[] => definitionWords({ ...common, ...more }).map(([word]) => word);
  assert.deepEqual(words({ method: "pearson", top_k: 2, features: ["return_24"] }), [
    "graphs.method.pearson",
    "graphs.step",
    "graphs.edges.top_k.positive",
    "graphs.features",
  ]);
  assert.deepEqual(words({ method: "lead_lag", lag: 3, threshold: 0.5, sign: "any" }), [
    "graphs.method.lead_lag",
    "graphs.step",
    "graphs.edges.threshold.any",
  ]);
  assert.deepEqual(words({ method: "partial", mst: true })[2], "graphs.edges.mst.positive");
  assert.deepEqual(words({ method: "newer", tmfg: true, sign: "negative" }), [
    "graphs.step",
    "graphs.edges.tmfg.negative",
  ]);
  assert.deepEqual(definitionWords({}), []);
  assert.deepEqual([isDirected({ method: "lead_lag" }), isDirected({ method: "pearson" })], [true, false]);
});

test("the snapshot of an instant is the latest one at or before it", () => {
  const times = [10, 20, 30].map((time) => ({ time }));
  assert.deepEqual(
    [5, 10, 19, 20, 99].map((ms) => latestAt(times, ms)),
    [0, 0, 0, 1, 2],
  );
});

test("the largest edges are drawn, two coins have one unless directions count", () => {
  const links = [edge("A", "B", 0.5), edge("B", "A", -0.75), edge("C", "A", 0.6), edge("B", "C", 0.1)];
  assert.deepEqual(drawnOf(links, false), [links[1], links[2], links[3]]);
  assert.deepEqual(drawnOf(links, true).length, 4);
  assert.deepEqual(drawnOf(links, false, 2), [links[1], links[2]]);
});

test("a larger edge is wider and darker, and the sign does not count", () => {
  const [small, large] = [strokeOf(0.2, 0.8), strokeOf(-0.8, 0.8)];
  assert.ok(small.width < large.width && small.opacity < large.opacity);
  assert.deepEqual(
    [large, strokeOf(0, 0)],
    [
      { width: 4, opacity: 1 },
      { width: 0.75, opacity: 0.4 },
    ],
  );
});

test("of many coins those with most edges are named, the chosen one and whom it is joined to", () => {
  const nodes = Array.from({ length: 60 }, (_, at) => node(`C${at}`));
  const hub = Array.from({ length: 50 }, (_, at) => edge("C7", `C${at + 8}`, 0.5));
  const named = namedOf(nodes, [...hub, edge("C58", "C59", 0.1)], "C59", 600);
  assert.ok(named.has("C7") && named.has("C59") && named.has("C58"));
  assert.ok(named.size <= 19);
  assert.deepEqual(
    [namedOf(nodes.slice(0, 30), [], null, 600).size, namedOf(nodes.slice(0, 30), [], null, 360).size],
    [30, 10],
  );
});

test("coins are sorted by a number, unknown last, and by name for equal ones", () => {
  const nodes = [
    node("B", { degree: 2, return_24: null }),
    node("C", { degree: 3 }),
    node("A", { degree: 2, return_24: -1 }),
  ];
  const names = (column: string): string =>
    sortedBy(nodes, column)
      .map((one) => one.symbol)
      .join("");
  assert.deepEqual([names("degree"), names("return_24"), names("nonsense")], ["CAB", "ABC", "ABC"]);
  assert.deepEqual(columnsOf(nodes), ["degree", "return_24"]);
});

test("a line is scaled into its box and broken where a value lacks", () => {
  const points = [
    [0, 1],
    [10, 3],
    [20, null],
    [30, 2],
    [40, null],
  ] as const;
  assert.equal(lineOf(points, 100, 10), "M0.0 10.0L25.0 0.0M75.0 5.0h2");
  assert.deepEqual([spanOf(points), spanOf([[0, null]]), lineOf([[0, null]], 9, 9)], [[1, 3], null, ""]);
  assert.equal(
    lineOf(
      [
        [0, 0],
        [1, 0],
      ],
      10,
      10,
    ),
    "M0.0 5.0L10.0 5.0",
  );
  assert.deepEqual([shareOf(points, 10), shareOf([[5, 1]], 5)], [0.25, 0.5]);
});

test("the path of a coin has a gap where it takes no part, and its degree also where nothing is measured", () => {
  const path = [
    { time: 10, values: { strength: 1.5 }, joined: 3 },
    { time: 30, values: { strength: null, degree: 1 }, joined: 2 },
  ] as unknown as CoinMoment[];
  const times = [10, 20, 30].map((time) => ({ time }));
  assert.deepEqual(pathPoints(times, path, "degree"), [
    [10, 3],
    [20, null],
    [30, 1],
  ]);
  assert.deepEqual(pathPoints(times, path, "strength"), [
    [10, 1.5],
    [20, null],
    [30, null],
  ]);
});
