/** Since when the number of records of a workflow has not grown, as far as this tab has seen. */
const QUIET_MS = 10_000;

export class Stalls {
  readonly #seen = new Map<string, { records: number; sinceMs: number }>();

  /** Note what is shown now; those that are not shown are forgotten. */
  note(rows: readonly { id: string; records: number }[], nowMs: number): void {
    const gone = new Set(this.#seen.keys());
    for (const { id, records } of rows) {
      gone.delete(id);
      if (this.#seen.get(id)?.records !== records) this.#seen.set(id, { records, sinceMs: nowMs });
    }
    for (const id of gone) this.#seen.delete(id);
  }

  /** Unix milliseconds; null: it grew within the last ten seconds. */
  since(id: string, nowMs: number): number | null {
    const seen = this.#seen.get(id);
    return seen !== undefined && nowMs - seen.sinceMs >= QUIET_MS ? seen.sinceMs : null;
  }
}
