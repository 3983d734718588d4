/** What of a series is in view, and what is to be asked of the server for it. Instants are unix milliseconds. */

import type { TimeWindow } from "./timewindow.ts";

/** What changes a view: a drag, a turn of the wheel, a key held down. One and the same object for all its steps. */
export type Gesture = object;

/** A request for bars: the server takes the finest level of detail that has at most `max` bars in the range. */
export interface Asked extends TimeWindow {
  max: number;
}

const MINUTE_MS = 60_000;
const UNITS: Record<string, number> = { s: 1000, m: MINUTE_MS, h: 3_600_000, d: 86_400_000, w: 604_800_000 };
const CALENDAR_MS = [1, 5, 15, 60, 240, 1440, 10_080].map((minutes) => minutes * MINUTE_MS);
const LEAST_BARS = 50;
const MOST_BARS = 2000;
const ALLOWED_BARS = 5000;
const PIXELS = 2.5;
const FIRST_MS = 100_000;
const LAST_MS = 253_370_764_800_000;

/** The lengths of bars that a type has, ascending; none where they vary. */
export function levelsOf(type: string): number[] {
  const interval = /_(\d+)([a-zA-Z])$/.exec(type);
  if (interval === null) return CALENDAR_MS;
  const unit = UNITS[interval[2] as string];
  if (unit === undefined) return [];
  const own = Number(interval[1]) * unit;
  return [own, ...CALENDAR_MS.filter((one) => one > own && one % own === 0)];
}

/** The length of the bars that the server is about to choose; null: they vary. */
export function levelOf(asked: Asked, levels: readonly number[]): number | null {
  const span = asked.endMs - asked.startMs;
  return levels.find((one) => span / one <= asked.max - 1) ?? levels.at(-1) ?? null;
}

/** What to ask for: the view, and as much on either side as far as `extent` goes. widthPx: of the picture. */
export function askedOf(view: TimeWindow, extent: TimeWindow, widthPx: number, levels: readonly number[]): Asked {
  const span = view.endMs - view.startMs;
  const startMs = Math.max(FIRST_MS, Math.min(view.startMs, Math.max(view.startMs - span, extent.startMs)));
  const endMs = Math.min(LAST_MS, Math.max(view.endMs, Math.min(view.endMs + span, extent.endMs)));
  const many = Math.round(((widthPx / PIXELS) * (endMs - startMs)) / span);
  // The longest bars there are must fit, however many they are.
  const longest = levels.at(-1);
  const least = longest === undefined ? MOST_BARS : Math.ceil((endMs - startMs) / longest) + 2;
  const max = Math.max(Math.min(MOST_BARS, Math.max(LEAST_BARS, many)), Math.min(least, ALLOWED_BARS));
  return { startMs: Math.floor(startMs), endMs: Math.ceil(endMs), max };
}

/** Whether what was asked for does for a picture that wants `now`: of the same bars, and not near an end of it. */
export function does(before: Asked, now: Asked, view: TimeWindow, levels: readonly number[]): boolean {
  if (levelOf(before, levels) !== levelOf(now, levels)) return false;
  const margin = (view.endMs - view.startMs) / 4;
  const left = before.startMs <= Math.max(now.startMs, view.startMs - margin);
  return left && before.endMs >= Math.min(now.endMs, view.endMs + margin);
}

/** Smaller by `factor`, or larger, about an instant that stays where it is. */
export function zoomedAbout(view: TimeWindow, factor: number, aboutMs: number): TimeWindow {
  const startMs = aboutMs - (aboutMs - view.startMs) / factor;
  return { startMs, endMs: startMs + (view.endMs - view.startMs) / factor };
}

/** The view moved so far that the range is in it, in the middle if it was not. */
export function showing(view: TimeWindow, { startMs, endMs }: TimeWindow): TimeWindow {
  if (startMs >= view.startMs && endMs <= view.endMs) return view;
  const span = Math.max(view.endMs - view.startMs, endMs - startMs);
  const first = (startMs + endMs - span) / 2;
  return { startMs: first, endMs: first + span };
}

/** Unix milliseconds of those, or of `2024-08-01`, `2024-08-01T12:30Z`, `2024-08-01 12:30` (UTC); else null. */
export function instantOf(text: string | null): number | null {
  const plain = (text ?? "").trim().replace(" ", "T");
  if (/^\d{5,15}$/.test(plain)) return Number(plain);
  const found = /^(\d{4}-\d\d-\d\d)(T\d\d:\d\d(?::\d\d(?:\.\d{1,3})?)?)?Z?$/.exec(plain);
  const ms = found === null ? Number.NaN : Date.parse(`${found[1]}${found[2] ?? "T00:00"}Z`);
  return Number.isNaN(ms) ? null : ms;
}

/** The view of an address, or null. */
export function viewOf(query: URLSearchParams): TimeWindow | null {
  const [startMs, endMs] = [instantOf(query.get("start")), instantOf(query.get("end"))];
  return startMs === null || endMs === null || endMs <= startMs ? null : { startMs, endMs };
}

/** For an address: `2024-08-01T12:30:00Z`, in whole seconds. */
export function textOf(ms: number): string {
  return new Date(Math.min(Math.max(ms, 0), LAST_MS)).toISOString().replace(/\.\d+Z$/, "Z");
}
