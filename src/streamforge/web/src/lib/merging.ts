/** Changes of the feed put into lists in place: where nothing but progress changes, a row stays the same. */
import type { Schedule, ScheduleRuns, Schedules, Status, Summary, WorkflowPage } from "../api/types";
import type { Change } from "./changes";

const MOST_KNOWN = 5000;

/** The status that each workflow had last, of the latest that were heard of, shown or not. */
export class Known {
  readonly #statuses = new Map<string, Status>();

  /** Note it; whether it was known, and with this status. */
  same(one: Summary): boolean {
    const before = this.#statuses.get(one.queue_id);
    this.#statuses.delete(one.queue_id);
    this.#statuses.set(one.queue_id, one.status);
    if (this.#statuses.size > MOST_KNOWN) this.forget(this.#statuses.keys().next().value as string);
    return before === one.status;
  }

  /** Whether it was known. */
  forget(id: string): boolean {
    return this.#statuses.delete(id);
  }
}

/**
 * The page as it is now. again: which rows belong to it, or how many have which status, may have changed: read it
 * again. row: makes a document one of the page's rows.
 */
export function merged(
  page: WorkflowPage,
  changes: readonly Change[],
  known: Known,
  row: (one: Summary) => Summary,
): { page: WorkflowPage; again: boolean } {
  const news = new Map<string, Summary>();
  let again = false;
  for (const one of changes) {
    if (one.kind !== "workflow") continue;
    if (one.document === null) {
      news.delete(one.id);
      again = known.forget(one.id) || page.queues.some((row) => row.queue_id === one.id) || again;
    } else {
      news.set(one.id, one.document);
      again = !known.same(one.document) || again;
    }
  }
  let whole = page;
  page.queues.forEach((one, at) => {
    const now = news.get(one.queue_id);
    if (now === undefined) return;
    if (same({ ...one, progress: null }, { ...now, progress: null })) {
      one.progress = now.progress;
      return;
    }
    if (whole === page) whole = { ...page, queues: [...page.queues] };
    whole.queues[at] = row(now);
  });
  return { page: whole, again };
}

/** Whether two values of JSON are equal. */
function same(one: unknown, other: unknown): boolean {
  if (one === other) return true;
  if (typeof one !== "object" || typeof other !== "object" || one === null || other === null) return false;
  const names = Object.keys(one) as (keyof typeof one)[];
  return names.length === Object.keys(other).length && names.every((name) => same(one[name], other[name]));
}

/** The schedules as they are now. again: there may be others. */
export function mergedSchedules(
  found: Schedules,
  changes: readonly Change[],
): { schedules: Schedules; again: boolean } {
  const news = new Map<string, Schedule | null>();
  for (const one of changes) if (one.kind === "schedule") news.set(one.id, one.document);
  if (news.size === 0) return { schedules: found, again: false };
  const names = found.schedules.map((one) => one.name);
  const schedules = found.schedules.map((one) => news.get(one.name) ?? one);
  const again = [...news].some(([name, one]) => one === null || !names.includes(name));
  return { schedules: { ...found, schedules }, again };
}

/** A schedule, and the runs of it that have ended, newest first. */
export interface OfSchedule {
  one: Schedule;
  runs: ScheduleRuns["runs"];
}

/** Its runs, newest first, each once: one that ended between the two answers is in both. */
export function runsOf({ one, runs }: OfSchedule): ScheduleRuns["runs"] {
  return one.current === null || runs.some((run) => run.number === one.current?.number) ? runs : [one.current, ...runs];
}

/**
 * The schedule `name` as it is now. again: its runs may be others, or it is gone. A document without the run that is
 * shown as current waits for the answer that has it among those that ended: else the run would be nowhere meanwhile.
 */
export function mergedSchedule(
  found: OfSchedule,
  changes: readonly Change[],
  name: string,
): { found: OfSchedule; again: boolean } {
  const news = changes.findLast((one) => one.kind === "schedule" && one.id === name);
  if (news?.kind !== "schedule") return { found, again: false };
  const now = news.document;
  const shown = found.one.current?.number;
  const put = now !== null && (shown === undefined || shown === now.current?.number);
  return { found: put ? { ...found, one: now } : found, again: true };
}
