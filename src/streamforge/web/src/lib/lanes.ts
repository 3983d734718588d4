import type { Attempt, Step } from "../api/types";

/** An attempt on the time axis: where it begins and how wide it is, in per cent of the axis. */
export interface Span {
  attempt: Attempt;
  left: number;
  width: number;
}

export interface Axis {
  startMs: number;
  endMs: number;
  lanes: { step: Step; spans: Span[] }[];
}

const LEAST_WIDTH = 0.5;

/** The attempts of each step from the first that began to `nowMs` or, if all have ended, to the last end. */
export function axisOf(steps: readonly Step[], nowMs: number): Axis | null {
  const times = steps
    .flatMap((step) => step.attempts)
    .filter((one) => one.started_at !== null)
    .map((one) => [Date.parse(one.started_at as string), one.ended_at === null ? nowMs : Date.parse(one.ended_at)]);
  if (times.length === 0) return null;
  const startMs = Math.min(...times.map(([start]) => start as number));
  const endMs = Math.max(startMs + 1, ...times.map(([, end]) => end as number));
  const share = (ms: number): number => (100 * (Math.min(ms, endMs) - startMs)) / (endMs - startMs);
  const lanes = steps.map((step) => ({
    step,
    spans: step.attempts.flatMap((attempt) => {
      if (attempt.started_at === null) return [];
      const left = Math.min(share(Date.parse(attempt.started_at)), 100 - LEAST_WIDTH);
      const right = attempt.ended_at === null ? 100 : share(Date.parse(attempt.ended_at));
      return [{ attempt, left, width: Math.max(LEAST_WIDTH, right - left) }];
    }),
  }));
  return { startMs, endMs, lanes };
}
