/**
 * Where the coins of a graph are drawn: in a square from 0 to 1, by forces, in a number of steps that is known before.
 * The same graph has the same picture, whatever was looked at before.
 */
import type { GraphEdge } from "../api/graphs.ts";

export interface Spot {
  x: number;
  y: number;
}
export type Spots = ReadonlyMap<string, Spot>;

const MARGIN = 0.04;
const STEPS = 200;
const STEPS_AFTER = 60;
const LEAST_STEPS = 10;
/** So many pairs of coins are looked at in all, at most. */
const MOST_PAIRS = 12_000_000;
const HOT = 0.1;
const WARM = 0.02;
const GRAVITY = 0.6;
const ANCHOR = 6;

/** The places of the coins in a graph that others are compared with. */
export function arranged(symbols: readonly string[], links: readonly GraphEdge[]): Spots {
  const names = ordered(symbols);
  const spots = names.map(outside);
  relax(names, spots, links, null, STEPS, HOT);
  return filled(names, spots);
}

/** The places of the coins in another graph: near those that they have in `before`, so that the eye can follow. */
export function rearranged(symbols: readonly string[], links: readonly GraphEdge[], before: Spots): Spots {
  const names = ordered(symbols);
  const anchors = names.map((name) => before.get(name) ?? outside(name));
  const spots = anchors.map((one) => ({ ...one }));
  relax(names, spots, links, anchors, STEPS_AFTER, WARM);
  const inside = (value: number): number => Math.min(1 - MARGIN, Math.max(MARGIN, value));
  return new Map(names.map((name, at) => [name, { x: inside(spots[at]?.x ?? 0), y: inside(spots[at]?.y ?? 0) }]));
}

/** How many steps so many coins are given. */
export function stepsOf(coins: number, wanted: number): number {
  return Math.min(wanted, Math.max(LEAST_STEPS, Math.floor(MOST_PAIRS / Math.max(1, (coins * coins) / 2))));
}

function ordered(symbols: readonly string[]): string[] {
  return [...new Set(symbols)].sort();
}

/** A place near the rim that follows from the name alone. */
function outside(name: string): Spot {
  let hash = 2_166_136_261;
  for (let at = 0; at < name.length; at += 1) hash = Math.imul(hash ^ name.charCodeAt(at), 16_777_619) >>> 0;
  const angle = ((hash % 3600) / 3600) * 2 * Math.PI;
  const radius = 0.35 + (((hash >>> 12) % 1000) / 1000) * 0.1;
  return { x: 0.5 + radius * Math.cos(angle), y: 0.5 + radius * Math.sin(angle) };
}

/** Fruchterman and Reingold: all push each other away, edges pull by their weight; it cools down to rest. */
function relax(
  names: readonly string[],
  spots: Spot[],
  links: readonly GraphEdge[],
  anchors: readonly Spot[] | null,
  wanted: number,
  heat: number,
): void {
  const many = names.length;
  const place = new Map(names.map((name, at) => [name, at]));
  const pulls = links.flatMap(({ source, target, weight }) => {
    const ends = [place.get(source), place.get(target)];
    return ends[0] === undefined || ends[1] === undefined ? [] : [[ends[0], ends[1], Math.abs(weight)] as const];
  });
  const x = Float64Array.from(spots, (one) => one.x);
  const y = Float64Array.from(spots, (one) => one.y);
  const room = 0.75 / Math.sqrt(Math.max(1, many));
  const steps = stepsOf(many, wanted);
  for (let step = 0; step < steps; step += 1) {
    const [dx, dy] = [new Float64Array(many), new Float64Array(many)];
    for (let one = 0; one < many; one += 1) {
      for (let other = 0; other < one; other += 1) {
        // Two at one place are driven apart along a line that follows from their order.
        const [wide, high] = [at(x, one) - at(x, other) || 1e-6 * (one + 1), at(y, one) - at(y, other) || 1e-6];
        const push = (room * room) / Math.max(1e-9, wide * wide + high * high);
        add(dx, one, wide * push);
        add(dx, other, -wide * push);
        add(dy, one, high * push);
        add(dy, other, -high * push);
      }
    }
    for (const [one, other, weight] of pulls) {
      const [wide, high] = [at(x, one) - at(x, other), at(y, one) - at(y, other)];
      const pull = (Math.hypot(wide, high) / room) * weight;
      add(dx, one, -wide * pull);
      add(dx, other, wide * pull);
      add(dy, one, -high * pull);
      add(dy, other, high * pull);
    }
    const most = heat * (1 - step / steps);
    for (let one = 0; one < many; one += 1) {
      const anchor = anchors?.[one] ?? null;
      const home = anchor ?? { x: 0.5, y: 0.5 };
      const hold = anchor === null ? GRAVITY : ANCHOR;
      const [wide, high] = [at(dx, one) + (home.x - at(x, one)) * hold, at(dy, one) + (home.y - at(y, one)) * hold];
      const far = Math.hypot(wide, high);
      const share = far > most ? most / far : 1;
      add(x, one, wide * share);
      add(y, one, high * share);
    }
  }
  for (const [one, spot] of spots.entries()) [spot.x, spot.y] = [at(x, one), at(y, one)];
}

function at(values: Float64Array, place: number): number {
  return values[place] as number;
}

function add(values: Float64Array, place: number, by: number): void {
  values[place] = at(values, place) + by;
}

/** Scaled so that they fill the square, each direction by itself. */
function filled(names: readonly string[], spots: readonly Spot[]): Spots {
  const scaled = (axis: "x" | "y"): number[] => {
    const values = spots.map((one) => one[axis]);
    const [least, most] = [Math.min(...values), Math.max(...values)];
    if (values.length < 2 || most - least < 1e-9) return values.map(() => 0.5);
    return values.map((one) => MARGIN + ((one - least) / (most - least)) * (1 - 2 * MARGIN));
  };
  const [x, y] = [scaled("x"), scaled("y")];
  return new Map(names.map((name, place) => [name, { x: x[place] as number, y: y[place] as number }]));
}
