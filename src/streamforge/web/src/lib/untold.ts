/** What the feed has said and was not told yet: of each document its latest state, however often it changed. */
import type { Change } from "./changes.ts";

const MOST_HELD = 5000;

export interface News {
  /** Whether changes come by the feed now. */
  live: boolean;
  /** All that is shown is to be read again, and then changed by `changes`. */
  again: boolean;
  /** In the order in which they came last, each document once. */
  changes: Change[];
  /** Of the last event. */
  lastId: string;
}

export class Untold {
  #live = false;
  #lastId: string;
  #again = false;
  #waits = false;
  readonly #changes = new Map<string, Change>();

  constructor(lastId = "") {
    this.#lastId = lastId;
  }

  add(changes: readonly Change[], again: boolean, lastId: string): void {
    this.#lastId = lastId;
    this.#waits = true;
    if (again) this.#readAgain();
    for (const one of changes) {
      const key = `${one.kind} ${one.id}`;
      this.#changes.delete(key);
      this.#changes.set(key, one);
    }
    if (this.#changes.size > MOST_HELD) this.#readAgain();
  }

  /** What the stream says first tells whether anything is to be read again; what comes while there is none is missing. */
  state(live: boolean): void {
    if (live === this.#live) return;
    this.#live = live;
    this.#waits = true;
    if (!live) this.#readAgain();
  }

  /** It is told now; null: there is nothing new. */
  take(): News | null {
    if (!this.#waits) return null;
    const found = { live: this.#live, again: this.#again, changes: [...this.#changes.values()], lastId: this.#lastId };
    this.#changes.clear();
    this.#again = this.#waits = false;
    return found;
  }

  /** What came before is older than what is read now. */
  #readAgain(): void {
    this.#again = true;
    this.#changes.clear();
  }
}
