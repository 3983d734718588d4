/** What a model's card tells, as rows and intervals. */
import type { Card, CardSeries, Score } from "../api/models.ts";

const MEANS = [
  "ic",
  "rank_ic",
  "icir",
  "t",
  "accuracy",
  "up",
  "precision",
  "base_rate",
  "turnover",
  "sharpe",
  "sharpe_net",
  "deflated",
] as const;
type Mean = (typeof MEANS)[number];

/** A model in the ladder: means over its seeds. low, high: of the accuracy, 95 %, of the first seed. */
export type Rung = Record<Mean, number> & { model: string; seeds: number; low: number; high: number };

export const OUTCOMES = ["edge", "no_edge", "void", "unknown"] as const;
export type OutcomeName = (typeof OUTCOMES)[number];

/** Which verdict a text is; a newer manager may know more. */
export function outcomeOf(text: string | undefined): OutcomeName {
  const known: Record<string, OutcomeName> = { "edge of the graph": "edge", "no edge": "no_edge", void: "void" };
  return known[text ?? ""] ?? "unknown";
}

/** Whether there is a signal at all; nothing can be said where the verdict is void. */
export function signalOf(verdict: Pick<Card["verdict"], "outcome" | "signal">): "yes" | "no" | "untold" {
  if (outcomeOf(verdict.outcome) === "void") return "untold";
  return verdict.signal ? "yes" : "no";
}

/** The ladder, each model once, in the order of the card. */
export function ladderOf(scores: readonly Score[]): Rung[] {
  const groups = new Map<string, Score[]>();
  for (const one of scores) groups.set(one.model, [...(groups.get(one.model) ?? []), one]);
  return [...groups].map(([model, own]) => {
    const mean = (name: Mean): number => own.reduce((sum, one) => sum + (one[name] ?? Number.NaN), 0) / own.length;
    const means = Object.fromEntries(MEANS.map((name) => [name, mean(name)])) as Record<Mean, number>;
    return { ...means, model, seeds: own.length, low: own[0]?.accuracy_low ?? 0, high: own[0]?.accuracy_high ?? 0 };
  });
}

/** The series of the model on the graph, of the same without edges, and of the rival: those that there are. */
export function shownOf(series: CardSeries, rival: string): CardSeries["models"] {
  return ["graph", "no_edges", rival].flatMap((name) => series.models.filter((one) => one.model === name).slice(0, 1));
}

/** An interval on a scale that all of a card share; `above`, `below` or on both sides of 0. */
export interface Interval {
  other: string;
  seed: number;
  mean: number;
  low: number;
  high: number;
  side: "above" | "below" | "both";
  /** Where low, high and mean lie, 0 to 1. */
  from: number;
  to: number;
  at: number;
}

/** By how much the rank-IC of the graph is larger than that of others, and where 0 lies on their scale. */
export function intervalsOf(verdict: Card["verdict"]): { zero: number; rows: Interval[] } {
  const ends = verdict.differences.flatMap((one) => [one.low, one.high]);
  const [least, most] = [Math.min(0, ...ends), Math.max(0, ...ends)];
  const place = (value: number): number => (most > least ? (value - least) / (most - least) : 0.5);
  const rows = verdict.differences.map(({ other, seed, mean, low, high }) => ({
    other,
    seed,
    mean,
    low,
    high,
    side: low > 0 ? ("above" as const) : high < 0 ? ("below" as const) : ("both" as const),
    from: place(low),
    to: place(high),
    at: place(mean),
  }));
  return { zero: place(0), rows };
}
