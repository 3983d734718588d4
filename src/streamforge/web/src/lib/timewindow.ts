/** The range of time that a picture shows: moved, zoomed, and divided by ticks. Instants are unix milliseconds. */

/** Half-open. */
export interface TimeWindow {
  startMs: number;
  endMs: number;
}

/** Of a gesture: while a pointer is held, one that ends by itself when no other follows soon, or the last one. */
export type GestureStep = "held" | "free" | "last";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
/** What the server takes as milliseconds. */
const FIRST_MS = DAY;
const LAST_MS = Date.UTC(9998, 0, 1);
const LEAST_MS = MINUTE;

/** With `factor` times the length, so that what is at `share` of its width stays there. */
export function zoomedWindow(window: TimeWindow, factor: number, share = 0.5): TimeWindow {
  const length = window.endMs - window.startMs;
  const wanted = length * factor;
  return bounded(window.startMs + (length - wanted) * share, wanted);
}

/** Later by a share of its length; earlier where it is negative. */
export function moved(window: TimeWindow, share: number): TimeWindow {
  const length = window.endMs - window.startMs;
  return bounded(window.startMs + length * share, length);
}

/** Whole seconds, within what the server takes. */
function bounded(startMs: number, lengthMs: number): TimeWindow {
  const seconds = Math.min(Math.max(Math.round(lengthMs / SECOND) * SECOND, LEAST_MS), LAST_MS - FIRST_MS);
  const start = Math.min(Math.max(Math.round(startMs / SECOND) * SECOND, FIRST_MS), LAST_MS - seconds);
  return { startMs: start, endMs: start + seconds };
}

/** The window that two texts of an address name; null: they are not both milliseconds, or name none. */
export function windowOf(start: string | null, end: string | null): TimeWindow | null {
  if (start === null || end === null || !/^\d{5,15}$/.test(start) || !/^\d{5,15}$/.test(end)) return null;
  return Number(start) < Number(end) ? { startMs: Number(start), endMs: Number(end) } : null;
}

const STEPS = [MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 14 * DAY];
const MONTHS = [1, 3, 6, 12, 24, 60, 120, 240, 600, 1200, 2400, 6000];
/** 1970-01-05: weeks begin on Monday. */
const MONDAY = 4 * DAY;

export interface Tick {
  ms: number;
  /** From the left edge, in per cent. */
  left: number;
  /** Which part of `YYYY-MM-DD HH:MM:SS` tells it. */
  part: readonly [from: number, to: number];
}

/** At most about `most` ticks at round instants of the clock that is `aheadOf` an instant ahead of UTC then. */
export function ticksOf(window: TimeWindow, most: number, aheadOf: (ms: number) => number = () => 0): Tick[] {
  const [first, last] = [aheadOf(window.startMs), aheadOf(window.endMs)];
  const local = { startMs: window.startMs + first, endMs: window.endMs + Math.max(first, last) };
  const length = window.endMs - window.startMs;
  const step = STEPS.find((one) => length / one <= most);
  const months = MONTHS.find((one) => length / (one * 30.44 * DAY) <= most) ?? (MONTHS.at(-1) as number);
  const ticks: Tick[] = [];
  for (const shown of step === undefined ? monthsOf(local, months) : everyOf(local, step)) {
    // The clock may have been put forward or back since the window began.
    let ms = shown - aheadOf(shown - first);
    // What the clock leaves out, a midnight perhaps, is where it goes on.
    if (ms + aheadOf(ms) !== shown) ms = shown - first;
    if (ms < window.startMs || ms >= window.endMs || ms <= (ticks.at(-1)?.ms ?? Number.NEGATIVE_INFINITY)) continue;
    ticks.push({ ms, left: (100 * (ms - window.startMs)) / length, part: partOf(shown, step ?? months * 30 * DAY) });
  }
  return ticks;
}

function everyOf(window: TimeWindow, step: number): number[] {
  const phase = step > DAY ? MONDAY : 0;
  const found: number[] = [];
  for (let ms = Math.ceil((window.startMs - phase) / step) * step + phase; ms < window.endMs; ms += step)
    found.push(ms);
  return found;
}

function monthsOf(window: TimeWindow, months: number): number[] {
  const start = new Date(window.startMs);
  const first = start.getUTCFullYear() * 12 + start.getUTCMonth();
  const found: number[] = [];
  for (let month = Math.floor(first / months) * months; ; month += months) {
    const ms = Date.UTC(Math.floor(month / 12), month % 12);
    if (ms >= window.endMs) return found;
    if (ms >= window.startMs) found.push(ms);
  }
}

function partOf(ms: number, step: number): Tick["part"] {
  if (step >= 360 * DAY) return [0, 4];
  if (step > 14 * DAY) return [0, 7];
  if (step >= DAY) return [0, 10];
  return ms % DAY === 0 ? [5, 10] : [11, 16];
}
