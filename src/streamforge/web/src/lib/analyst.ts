/** What differs for a workflow whose analyst makes a graph, a model or scores. */
import type { Workflow } from "../api/types";

export type Making = "graph" | "model" | "scores";

/** What an analyst writes. path: of its screen; null: it is not there yet. objects: what their names begin with. */
export interface Output {
  making: Making;
  name: string;
  path: string | null;
  collections: string[];
  objects: string;
}

const MAKING = new Map<string, Making>([
  ["gnn_graph", "graph"],
  ["gnn_train", "model"],
  ["gnn_score", "scores"],
]);

/** What a workflow of the type makes; null: it stores records. */
export function makingOf(type: string): Making | null {
  return MAKING.get(type) ?? null;
}

/** What the analyst of the workflow writes; null: it has none. A model that scores was there before. */
export function outputOf(
  one: Pick<Workflow, "type" | "status" | "graph" | "model" | "collection"> & {
    steps: readonly { parameters: Record<string, unknown> }[];
  },
): Output | null {
  const making = makingOf(one.type);
  const name = one.graph ?? one.model;
  if (making === null || name === null) return null;
  const screen = `/${making === "graph" ? "graphs" : "models"}/${encodeURIComponent(name)}`;
  const path = making === "scores" || one.status === "finished" ? screen : null;
  if (making === "scores") return { making, name, path, collections: [one.collection], objects: "" };
  if (making === "model") return { making, name, path, collections: [], objects: `models/${name}/` };
  const none = one.steps.some((step) => step.parameters.stored === "none");
  const collections = none ? [] : [`${name}_nodes`, `${name}_edges`, `${name}_snapshots`];
  return { making, name, path, collections, objects: `graphs/${name}/` };
}
