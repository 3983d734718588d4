/** When to ask again for what workflows bring about, by what the feed tells of the workflows themselves. */
import type { Summary } from "../api/types.ts";
import type { Change } from "./changes.ts";

const MOST_KNOWN = 5000;

/**
 * For a `Poll` that the feed puts nothing into. changedMs: ask at most so often where a workflow comes, goes, or `of`
 * says something else of it than before; progressMs: where it goes on and nothing else; false: then not at all.
 */
export function watching(
  of: (one: Summary) => string,
  changedMs: number,
  progressMs: number | false,
): (changes: readonly Change[]) => number | false {
  const known = new Map<string, string>();

  function paceOf(id: string, one: Summary | null): number | false {
    const before = known.get(id);
    known.delete(id);
    if (one === null) return changedMs;
    const now = of(one);
    known.set(id, now);
    if (known.size > MOST_KNOWN) known.delete(known.keys().next().value as string);
    const goesOn = before === undefined ? progressMs !== false && one.status === "running" : before === now;
    return goesOn ? progressMs : changedMs;
  }

  return (changes) => {
    const paces = changes.flatMap((one) => (one.kind === "workflow" ? [paceOf(one.id, one.document)] : []));
    const wanted = paces.filter((one) => one !== false);
    return wanted.length > 0 && Math.min(...wanted);
  };
}
