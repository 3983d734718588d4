import type { Attempt, Step } from "../api/types";

/** Attempts of one status on the time axis, in per cent of it: one, or several that are too close to tell apart. */
export interface Span {
  status: Attempt["status"];
  left: number;
  width: number;
  attempts: number;
}

/** A time in which no attempt ran, drawn shorter than it was. */
export interface Break {
  left: number;
  width: number;
  seconds: number;
}

export interface Axis {
  startMs: number;
  endMs: number;
  lanes: { step: Step; spans: Span[] }[];
  breaks: Break[];
}

const LEAST_WIDTH = 0.5;
/** Of all the time in which attempts ran: longer pauses are drawn as long as this. */
const LONGEST_PAUSE = 0.05;

type Interval = [startMs: number, endMs: number];

/** The steps as the records go through them: loaders, then sinks. */
export function inOrder(steps: readonly Step[]): Step[] {
  return steps.toSorted((one, other) => Number(one.role === "sink") - Number(other.role === "sink"));
}

/** The attempts of each step from the first start to `nowMs` or, if all have ended, to the last end. */
export function axisOf(steps: readonly Step[], nowMs: number): Axis | null {
  const begun = (step: Step) => step.attempts.filter((one) => one.started_at !== null);
  const busy = united(steps.flatMap((step) => begun(step).map((one) => interval(one, nowMs))));
  const [first, last] = [busy[0], busy.at(-1)];
  if (first === undefined || last === undefined) return null;
  const { share, breaks } = scaleOf(busy);
  const lanes = steps.map((step) => ({
    step,
    spans: joined(
      begun(step).map((attempt) => {
        const [startMs, endMs] = interval(attempt, nowMs);
        const left = Math.min(share(startMs), 100 - LEAST_WIDTH);
        return { status: attempt.status, left, width: Math.max(LEAST_WIDTH, share(endMs) - left), attempts: 1 };
      }),
    ),
  }));
  return { startMs: first[0], endMs: last[1], lanes, breaks };
}

function interval(attempt: Attempt, nowMs: number): Interval {
  const startMs = Date.parse(attempt.started_at as string);
  return [startMs, Math.max(startMs + 1, attempt.ended_at === null ? nowMs : Date.parse(attempt.ended_at))];
}

/** The times in which at least one of them ran. */
function united(intervals: Interval[]): Interval[] {
  const found: Interval[] = [];
  for (const [startMs, endMs] of intervals.sort(([a], [b]) => a - b)) {
    const last = found.at(-1);
    if (last !== undefined && startMs <= last[1]) last[1] = Math.max(last[1], endMs);
    else found.push([startMs, endMs]);
  }
  return found;
}

/** Where an instant lies, in per cent, and the pauses that are drawn shorter. */
function scaleOf(busy: readonly Interval[]): { share: (ms: number) => number; breaks: Break[] } {
  const longest = LONGEST_PAUSE * busy.reduce((sum, [start, end]) => sum + end - start, 0);
  const pieces: { startMs: number; at: number; factor: number }[] = [];
  const cuts: { at: number; length: number; seconds: number }[] = [];
  let at = 0;
  busy.forEach(([startMs, endMs], index) => {
    pieces.push({ startMs, at, factor: 1 });
    at += endMs - startMs;
    const pauseMs = (busy[index + 1]?.[0] ?? endMs) - endMs;
    const length = Math.min(pauseMs, longest);
    pieces.push({ startMs: endMs, at, factor: pauseMs > 0 ? length / pauseMs : 0 });
    if (length < pauseMs) cuts.push({ at, length, seconds: pauseMs / 1000 });
    at += length;
  });
  const share = (ms: number): number => {
    const piece = pieces.findLast((one) => one.startMs <= ms) ?? pieces[0];
    return piece === undefined ? 0 : (100 * (piece.at + (ms - piece.startMs) * piece.factor)) / at;
  };
  const breaks = cuts.map((one) => ({
    left: (100 * one.at) / at,
    width: (100 * one.length) / at,
    seconds: one.seconds,
  }));
  return { share, breaks };
}

/** Those of one status that touch are one: however many attempts there are, there is room for few. */
function joined(spans: readonly Span[]): Span[] {
  const found: Span[] = [];
  for (const span of spans) {
    const last = found.at(-1);
    if (
      last !== undefined &&
      last.status === span.status &&
      span.width <= LEAST_WIDTH &&
      span.left < last.left + last.width
    ) {
      last.width = Math.max(last.width, span.left + span.width - last.left);
      last.attempts += 1;
    } else found.push({ ...span });
  }
  return found;
}
