/** What the screens of graphs tell: how a graph is defined, which edges are drawn and how, what is in which order. */
import type { CoinMoment, GraphEdge, GraphNode, Snapshot } from "../api/graphs.ts";
import type { Values } from "../words/filling.ts";
import type { Word } from "../words/words.svelte";

/** So many edges are drawn at most; the largest. */
export const MOST_DRAWN = 400;
/** So many are asked for. */
export const MOST_ASKED = 2000;
/** So many snapshots are listed at once. */
export const MOST_SNAPSHOTS = 2000;
export const MEASURES = ["degree", "strength", "clustering", "pagerank"] as const;
export type Measure = (typeof MEASURES)[number];
export type Definition = Readonly<Record<string, unknown>>;

/** A coin with its name takes so much of the width of a picture. */
const NAME_PX = 18;

/** Whether an edge tells of its target alone, and where it leads is to be seen. */
export function isDirected(definition: Definition): boolean {
  return definition.method === "lead_lag";
}

/** The definition as sentences; an unknown method or choice is left to the field names. None: it is not known. */
export function definitionWords(definition: Definition): [Word, Values][] {
  const text = (name: string): string => String(definition[name] ?? "");
  const { window, step, lag, features } = definition;
  const found: [Word, Values][] = [];
  if (window === undefined) return found;
  const method = ["pearson", "spearman", "partial", "lead_lag"].find((one) => one === definition.method);
  if (method !== undefined) {
    const word = `graphs.method.${method}` as Word;
    found.push([word, { n: Number(window), interval: text("interval"), lag: Number(lag ?? 0) }]);
  }
  found.push(["graphs.step", { n: Number(step), interval: text("interval") }]);
  const sign = ["negative", "any"].find((one) => one === definition.sign) ?? "positive";
  if (typeof definition.top_k === "number") found.push([`graphs.edges.top_k.${sign}` as Word, { n: definition.top_k }]);
  else if (typeof definition.threshold === "number") {
    found.push([`graphs.edges.threshold.${sign}` as Word, { least: text("threshold") }]);
  } else if (definition.mst === true) found.push([`graphs.edges.mst.${sign}` as Word, {}]);
  else if (definition.tmfg === true) found.push([`graphs.edges.tmfg.${sign}` as Word, {}]);
  if (Array.isArray(features) && features.length > 0) found.push(["graphs.features", { names: features.join(", ") }]);
  return found;
}

/** The place of the latest snapshot at the instant or before; the first one where all are later. */
export function latestAt(snapshots: readonly Pick<Snapshot, "time">[], ms: number): number {
  const later = snapshots.findIndex((one) => one.time > ms);
  return later < 0 ? snapshots.length - 1 : Math.max(0, later - 1);
}

/** The edges that are drawn, the largest first. Where directions do not count, two coins have one: the larger. */
export function drawnOf(links: readonly GraphEdge[], directed: boolean, most = MOST_DRAWN): GraphEdge[] {
  const found = new Map<string, GraphEdge>();
  for (const link of [...links].sort((one, other) => Math.abs(other.weight) - Math.abs(one.weight))) {
    if (found.size === most) break;
    const ends = directed || link.source < link.target ? [link.source, link.target] : [link.target, link.source];
    const key = ends.join("\n");
    if (!found.has(key)) found.set(key, link);
  }
  return [...found.values()];
}

/** How an edge is drawn: by its size beside the largest one. */
export function strokeOf(weight: number, largest: number): { width: number; opacity: number } {
  const share = largest > 0 ? Math.min(1, Math.abs(weight) / largest) : 0;
  return { width: 0.75 + 3.25 * share * share, opacity: 0.4 + 0.6 * share };
}

/** Whom each coin is joined to. */
export function joinedOf(links: readonly GraphEdge[]): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  for (const { source, target } of links) {
    for (const [one, other] of [
      [source, target],
      [target, source],
    ] as const) {
      if (!found.has(one)) found.set(one, new Set());
      found.get(one)?.add(other);
    }
  }
  return found;
}

/**
 * The coins whose names are drawn: all where the picture has room, else those with most edges, the chosen one and its
 * own. width: of the picture.
 */
export function namedOf(
  nodes: readonly GraphNode[],
  links: readonly GraphEdge[],
  chosen: string | null,
  width: number,
): Set<string> {
  const joined = joinedOf(links);
  const found = new Set(chosen === null ? [] : [chosen, ...(joined.get(chosen) ?? [])]);
  const order = [...nodes].sort(
    (one, other) => (joined.get(other.symbol)?.size ?? 0) - (joined.get(one.symbol)?.size ?? 0),
  );
  const room = nodes.length <= width / NAME_PX ? nodes.length : Math.round(width / NAME_PX / 2);
  for (const { symbol } of order.slice(0, room)) found.add(symbol);
  return found;
}

/** The numbers that coins have: measures first, then features as they come. */
export function columnsOf(nodes: readonly GraphNode[]): string[] {
  const there = new Set(nodes.flatMap((one) => Object.keys(one.values)));
  return [...MEASURES.filter((one) => there.delete(one)), ...there];
}

/** The coins by a number, the greatest first; by name where it is of none of theirs. What is not known comes last. */
export function sortedBy(nodes: readonly GraphNode[], column: string): GraphNode[] {
  const value = (one: GraphNode): number => one.values[column] ?? Number.NEGATIVE_INFINITY;
  const byName = (one: GraphNode, other: GraphNode): number => (one.symbol < other.symbol ? -1 : 1);
  return [...nodes].sort((one, other) => {
    const [a, b] = [value(one), value(other)];
    return a === b ? byName(one, other) : b - a;
  });
}

export type Point = readonly [ms: number, value: number | null];

/** The least and the greatest of the values, and never the same; null: there is none. */
export function spanOf(points: readonly Point[]): [number, number] | null {
  const values = points.flatMap(([, value]) => (value === null ? [] : [value]));
  if (values.length === 0) return null;
  const [least, most] = values.reduce(([a, b], one) => [Math.min(a, one), Math.max(b, one)], [values[0], values[0]] as [
    number,
    number,
  ]);
  return least === most
    ? [least - Math.max(1e-9, Math.abs(least) / 10), most + Math.max(1e-9, Math.abs(most) / 10)]
    : [least, most];
}

/** How far along the instants one lies, 0 to 1. */
export function shareOf(points: readonly Point[], ms: number): number {
  const [first, last] = [points[0]?.[0] ?? 0, points.at(-1)?.[0] ?? 0];
  return last > first ? (ms - first) / (last - first) : 0.5;
}

/** The line through the points in a box, broken where a value lacks; a point between two such is a short dash. */
export function lineOf(points: readonly Point[], width: number, height: number): string {
  const span = spanOf(points);
  if (span === null) return "";
  const [least, most] = span;
  let path = "";
  let drawing = false;
  for (const [place, [ms, value]] of points.entries()) {
    if (value === null) {
      drawing = false;
      continue;
    }
    const x = shareOf(points, ms) * width;
    const y = height - ((value - least) / (most - least)) * height;
    const alone = !drawing && (points[place + 1]?.[1] ?? null) === null;
    path += `${drawing ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}${alone ? "h2" : ""}`;
    drawing = true;
  }
  return path;
}

/** A number of each moment of a coin, with a gap where the coin takes no part in a snapshot. */
export function pathPoints(
  snapshots: readonly Pick<Snapshot, "time">[],
  path: readonly CoinMoment[],
  name: string,
): Point[] {
  const known = new Map(path.map((one) => [one.time, one]));
  return snapshots.map(({ time }) => {
    const one = known.get(time);
    const own = one?.values[name] ?? null;
    return [time, name === "degree" && own === null ? (one?.joined ?? null) : own];
  });
}
