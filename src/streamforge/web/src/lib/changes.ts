/** What the events of the feed mean for what is shown. */
import type { BatchSummary, Schedule, Summary } from "../api/types";
import type { ServerEvent } from "./sse";

/** The latest state of a workflow, batch or schedule; null: it is gone. */
export type Change =
  | { kind: "workflow"; id: string; document: Summary | null }
  | { kind: "batch"; id: string; document: BatchSummary | null }
  | { kind: "schedule"; id: string; document: Schedule | null };

export interface Told {
  /** Changes are missing, or may be: all that is shown is to be read again. */
  again: boolean;
  /** Since then, in the order in which they came; of each document the last one counts. */
  changes: Change[];
  /** Why the server ends the stream. */
  ended: string | null;
}

/** Throws where the data of an event are no JSON. */
export function told(events: readonly ServerEvent[]): Told {
  const found: Told = { again: false, changes: [], ended: null };
  for (const { name, data } of events) {
    if (!["open", "reset", "workflow", "batch", "schedule", "removed", "end"].includes(name)) continue;
    const body = JSON.parse(data);
    if (name === "reset" || (name === "open" && !body.resumed)) Object.assign(found, { again: true, changes: [] });
    else if (name === "workflow") found.changes.push({ kind: name, id: body.queue_id, document: body });
    else if (name === "batch") found.changes.push({ kind: name, id: body.batch_id, document: body });
    else if (name === "schedule") found.changes.push({ kind: name, id: body.name, document: body });
    else if (name === "removed") found.changes.push({ kind: body.kind, id: body.id, document: null });
    else if (name === "end") found.ended = body.reason;
  }
  return found;
}

/** The latest state of a workflow in them; null: it is gone; undefined: they say nothing of it. */
export function latestOf(changes: readonly Change[], queueId: string): Summary | null | undefined {
  const found = changes.findLast((one) => one.kind === "workflow" && one.id === queueId);
  return found?.kind === "workflow" ? found.document : undefined;
}
