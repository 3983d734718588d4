/** Which screen an address shows. Each is a file of its own, which is loaded when it is first shown. */
import type { Component } from "svelte";

export interface Route {
  /** Of the address below /ui; its named groups are the screen's properties. */
  pattern: RegExp;
  // biome-ignore lint/suspicious/noExplicitAny: the properties follow from the pattern
  load: () => Promise<{ default: Component<any> }>;
}

const ROUTES: readonly Route[] = [
  { pattern: /^\/workflows$/, load: () => import("./Workflows.svelte") },
  { pattern: /^\/workflows\/(?<queueId>[^/]+)$/, load: () => import("./Workflow.svelte") },
  { pattern: /^\/coverage$/, load: () => import("./Coverage.svelte") },
  { pattern: /^\/settings$/, load: () => import("./Settings.svelte") },
  { pattern: /^\/start$/, load: () => import("./Start.svelte") },
  { pattern: /^\/schedules$/, load: () => import("./Schedules.svelte") },
  { pattern: /^\/schedules\/(?<name>[^/]+)$/, load: () => import("./Schedule.svelte") },
  { pattern: /^\/series$/, load: () => import("./SeriesList.svelte") },
  { pattern: /^\/series\/(?<symbol>[^/]+)\/(?<type>[^/]+)$/, load: () => import("./Series.svelte") },
  { pattern: /^\/graphs$/, load: () => import("./Graphs.svelte") },
  { pattern: /^\/graphs\/(?<graph>[^/]+)$/, load: () => import("./Graph.svelte") },
  { pattern: /^\/models$/, load: () => import("./Models.svelte") },
  { pattern: /^\/models\/(?<name>[^/]+)$/, load: () => import("./Model.svelte") },
  { pattern: /^\/dead-letters$/, load: () => import("./DeadLetters.svelte") },
  { pattern: /^\/dead-letters\/(?<queueId>[^/]+)$/, load: () => import("./Letters.svelte") },
  { pattern: /^\/topics$/, load: () => import("./Topics.svelte") },
  { pattern: /^\/topics\/(?<name>[^/]+)$/, load: () => import("./Topic.svelte") },
];

/** The screen of an address, or null. */
export function routeOf(path: string): Route | null {
  return ROUTES.find((one) => one.pattern.test(path)) ?? null;
}
