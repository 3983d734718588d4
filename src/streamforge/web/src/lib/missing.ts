/** What of a series can be loaded, and how: the ranges of its holes, requests and commands. */
import { quoted } from "./copies.ts";
import { inWindow, type VerdictRun } from "./runs.ts";
import type { TimeWindow } from "./timewindow.ts";
import { textOf } from "./view.ts";

/** A range of a series that is to be loaded. holes: how many of its runs lack. */
export interface Wanted {
  symbol: string;
  type: string;
  startMs: number;
  endMs: number;
  holes: number;
}

const LOADED = ["ours", "unknown"];

/** Whether a load of the range can change the verdict: what retention removed can be had again, too. */
export function canLoad(type: string, verdict: string): boolean {
  return type.startsWith("api_") && (LOADED.includes(verdict) || verdict === "expired");
}

/**
 * What lacks of a series in the window: from its first hole to its last one, as what is stored is not loaded again.
 * What retention removed is not to come back by itself, so it divides them.
 */
export function missingOf(
  series: { symbol: string; type: string; runs: readonly VerdictRun[] },
  window: TimeWindow,
): Wanted[] {
  const { symbol, type } = series;
  const found: Wanted[] = [];
  let open: Wanted | null = null;
  for (const [start, end, verdict] of type.startsWith("api_") ? inWindow(series.runs, window) : []) {
    if (verdict === "expired") open = null;
    if (!LOADED.includes(verdict)) continue;
    if (open === null) {
      open = { symbol, type, startMs: Math.max(start, window.startMs), endMs: end, holes: 0 };
      found.push(open);
    }
    open.endMs = Math.min(end, window.endMs);
    open.holes += 1;
  }
  return found;
}

/** The range as the API and the commands read it, wider where it does not have whole seconds. */
export function loadRange(startMs: number, endMs: number): string {
  return `${instantText(Math.floor(startMs / 1000) * 1000)}:${instantText(Math.ceil(endMs / 1000) * 1000)}`;
}

function instantText(ms: number): string {
  return textOf(ms).replace("T00:00:00Z", "").replace(/:00Z$/, "Z");
}

/** A range of a series for other tools. None of them holds a token. server: `http://HOST:PORT`. */
export function commandsOf({ symbol, type, startMs, endMs }: Omit<Wanted, "holes">, server: string) {
  const time = loadRange(startMs, endMs);
  const named = `${quoted(symbol)} ${quoted(type)} ${time} --server ${server}`;
  const path = `/coverage/${encodeURIComponent(symbol)}/${encodeURIComponent(type)}?time_range=${time}`;
  return {
    load: `streamforge load ${named}`,
    coverage: `streamforge coverage ${named}`,
    curl: `curl -H "Authorization: Bearer $STREAMFORGE_TOKEN" ${quoted(server + path)}`,
  };
}
