/** What the API answers of coverage. */
import type { components } from "./openapi";

type Schemas = components["schemas"];

export type CoverageRuns = Schemas["CoverageRuns"];
export type SeriesRuns = Schemas["SeriesRuns"];
export type Coverage = Schemas["Coverage"];
export type Segment = Schemas["Segment"];
