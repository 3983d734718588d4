/** What became of dead letters that were replayed. */
import type { Letter, LetterCode } from "../api/bus";
import { ENDED, type Workflow } from "../api/types.ts";

/** A replay that was asked for. */
export interface Replay {
  /** How many letters it was to read. */
  asked: number;
  /** How many waited before it. */
  outstanding: number;
  /** The number of the latest attempt of each sink before it. */
  attempts: Readonly<Record<string, number>>;
  endedAt: string | null;
}

export interface Outcome {
  /** null: it went well. */
  failed: string | null;
  stored: number;
  back: number;
  reasons: readonly { code: LetterCode; count: number; example: string }[];
}

/** workflow: as it was before. */
export function begun(workflow: Workflow, asked: number, outstanding: number): Replay {
  const latest = sinks(workflow).map((step) => [step.target, Math.max(0, ...step.attempts.map((one) => one.number))]);
  return { asked, outstanding, attempts: Object.fromEntries(latest), endedAt: workflow.ended_at };
}

/** Whether the workflow has ended again. */
export function over(replay: Replay, workflow: Workflow): boolean {
  return ENDED.includes(workflow.status) && workflow.ended_at !== replay.endedAt;
}

/** Letters that came back are of this attempt, or of a later one. */
export function sinceAttempt(replay: Replay): number {
  return 1 + Math.min(...Object.values(replay.attempts));
}

/** outstanding: how many wait after it. back: letters of its attempts that wait, the first pages of them. */
export function outcome(replay: Replay, workflow: Workflow, outstanding: number, back: readonly Letter[]): Outcome {
  const counts = new Map<LetterCode, { count: number; example: string }>();
  for (const letter of back) {
    const before = counts.get(letter.code)?.count ?? 0;
    counts.set(letter.code, { count: before + 1, example: letter.reason });
  }
  const left = Math.max(0, replay.outstanding - replay.asked);
  const many = Math.min(replay.asked, Math.max(0, outstanding - left));
  return {
    failed: failureOf(replay, workflow),
    stored: replay.asked - many,
    back: many,
    reasons: [...counts].map(([code, found]) => ({ code, ...found })).sort((one, other) => other.count - one.count),
  };
}

function failureOf(replay: Replay, workflow: Workflow): string | null {
  const news = sinks(workflow).flatMap((step) => {
    const latest = step.attempts.at(-1);
    return latest !== undefined && latest.number > (replay.attempts[step.target] ?? 0) ? [latest] : [];
  });
  if (news.length === 0) return workflow.failure?.reason ?? "";
  const failing = news.find((one) => one.status !== "finished");
  return failing === undefined ? null : (failing.error ?? failing.reason ?? "");
}

function sinks(workflow: Workflow): Workflow["steps"] {
  return workflow.steps.filter((step) => step.role === "sink");
}
