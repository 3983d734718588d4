import type { Attempt, AttemptLog, Step } from "../api/types";
import { inOrder } from "./lanes.ts";

const MOST_LINES = 500;
/** Of so many attempts of a step the server keeps the log. */
const KEPT_LOGS = 16;

/** The end of the log of an attempt. text: null where there is none. */
export interface Tail {
  attempt: number;
  text: string | null;
  ended: boolean;
}

/** The tail with what came of the log since; of another attempt, or where lines in between are gone, anew. */
export function extended(tail: Tail | null, log: AttemptLog): Tail {
  const goesOn = log.resumed && tail !== null && tail.attempt === log.attempt && tail.text !== null;
  const text = goesOn ? tail.text + (log.text ?? "") : log.text;
  return { attempt: log.attempt, text: text === null ? null : lastLines(text), ended: log.ended };
}

function lastLines(text: string): string {
  return text
    .split("\n")
    .slice(-MOST_LINES - 1)
    .join("\n");
}

/** An attempt whose log can be shown. number 0: always the newest one of the step. */
export interface Choice {
  step: string;
  number: number;
  attempt: Attempt | null;
}

/** The choices, each step's newest first. */
export function choicesOf(steps: readonly Step[]): Choice[] {
  return inOrder(steps).flatMap(({ target, attempts }) => [
    { step: target, number: 0, attempt: null },
    ...attempts
      .slice(-KEPT_LOGS)
      .reverse()
      .map((attempt) => ({ step: target, number: attempt.number, attempt })),
  ]);
}

/** The step that a person wants to read of first: one that failed, else the loader whose attempt is newest. */
export function firstStep(steps: readonly Step[]): string | null {
  const ordered = inOrder(steps);
  const begun = (step: Step): string => step.attempts.at(-1)?.started_at ?? "";
  const ran = ordered.filter((step) => step.attempts.length > 0);
  const newest = ran
    .filter((step) => step.role === ran[0]?.role)
    .reduce<Step | undefined>(
      (one, other) => (one !== undefined && begun(one) >= begun(other) ? one : other),
      undefined,
    );
  const failed =
    ran.find((step) => step.failure !== null) ?? ran.find((step) => step.attempts.at(-1)?.status === "error");
  return (failed ?? newest ?? ordered[0])?.target ?? null;
}
