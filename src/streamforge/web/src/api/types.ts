/** The answers of the API; `openapi.d.ts` is made of the OpenAPI document by `make ui`. */
import type { components } from "./openapi";

type Schemas = components["schemas"];

export type Problem = Schemas["Problem"];
export type Access = Schemas["Access"];
export type Role = Access["role"];
export type Summary = Schemas["WorkflowSummary"];
export type Workflow = Schemas["Workflow"];
export type Status = Summary["status"];
export type Step = Schemas["Step"];
export type Attempt = Schemas["Attempt"];
export type StoredEvent = Schemas["StoredEvent"];
export type EventPage = Schemas["EventPage"];
export type Ping = Schemas["Ping"];
export type WorkflowPage = Schemas["WorkflowPage"];
export type Bars = Schemas["Bars"];
export type Verdict = Schemas["Segment"]["verdict"];
export type Coverage = Schemas["Coverage"];
export type CoverageRuns = Schemas["CoverageRuns"];
export type SeriesPage = Schemas["SeriesPage"];
export type StoredSeries = Schemas["Series"];
export type Started = Schemas["Accepted"];
export type Book = Schemas["Book"];
export type RecordPage = Schemas["RecordPage"];

export const STATUSES: readonly Status[] = ["pending", "running", "stopping", "finished", "interrupted", "error"];
export const ENDED: readonly Status[] = ["finished", "interrupted", "error"];
