/** The answers of the API about models. A card is that of `streamforge.analytics.models.card`. */
import type { Definition } from "../lib/graphs";
import type { components } from "./openapi";

type Schemas = components["schemas"];

export interface Score {
  model: string;
  seed: number;
  ic: number;
  rank_ic: number;
  /** icir, t: none where the rank-IC is the same at all moments. */
  icir: number | null;
  t: number | null;
  accuracy: number;
  accuracy_low: number;
  accuracy_high: number;
  up: number;
  precision: number;
  base_rate: number;
  turnover: number;
  sharpe: number;
  sharpe_net: number;
  deflated: number;
}

export interface Difference {
  model: string;
  other: string;
  seed: number;
  mean: number;
  low: number;
  high: number;
}

export interface SwitchScore {
  switch: string;
  model: string;
  honest: number;
  rank_ic: number;
  t: number | null;
  sharpe_net: number;
}

export interface Card {
  dataset: { graph: Definition; horizon: number };
  dataset_sha256: string;
  settings: { seeds: number[]; fee_bp: number; top: number };
  trials: number;
  moments: number;
  first_ms: number;
  last_ms: number;
  coins: [number, number];
  predictions_sha256: string;
  verdict: { outcome: string; signal: boolean; rival: string; reasons: string[]; differences: Difference[] };
  scores: Score[];
  switchboard: SwitchScore[];
  /** How it was made; nothing where it was run by hand. */
  training?: TrainingNote | null;
  series?: CardSeries;
}

export interface TrainingNote {
  model: string;
  settings: string;
  device: string;
  threads: number;
  versions: Record<string, string>;
}

/** times_ms: of the equity, which is 1 at first; months: of the rank-IC, `2024-08`. */
export interface CardSeries {
  times_ms: number[];
  months: string[];
  models: { model: string; equity: number[]; rank_ic: (number | null)[] }[];
}

export type ModelSummary = Schemas["ModelSummary"];
export type ModelPage = Schemas["Models"];
