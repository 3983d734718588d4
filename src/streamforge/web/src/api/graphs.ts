/** The answers of the API about graphs. */
import type { components } from "./openapi";

type Schemas = components["schemas"];

export type GraphSummary = Schemas["GraphSummary"];
export type GraphPage = Schemas["Graphs"];
export type Graph = Schemas["Graph"];
export type Snapshot = Schemas["GraphSnapshot"];
export type Snapshots = Schemas["GraphSnapshots"];
export type Moment = Schemas["GraphMoment"];
export type GraphNode = Schemas["GraphNode"];
export type GraphEdge = Schemas["GraphEdge"];
export type CoinPath = Schemas["CoinPath"];
export type CoinMoment = Schemas["CoinMoment"];
