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
  { pattern: /^\/series$/, load: () => import("./SeriesList.svelte") },
  { pattern: /^\/series\/(?<symbol>[^/]+)\/(?<type>[^/]+)$/, load: () => import("./Series.svelte") },
];

/** The screen of an address, or null. */
export function routeOf(path: string): Route | null {
  return ROUTES.find((one) => one.pattern.test(path)) ?? null;
}
