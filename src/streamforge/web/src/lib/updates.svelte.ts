/**
 * Whether what is shown changes by itself (WCAG 2.2.2). While that is paused, in this tab alone, screens show what they
 * have; what a person asks for, and a screen that is opened, is still read once.
 */
import type { Change } from "./changes";
import { clock } from "./clock.svelte";

class Updates {
  /** Since when they are paused, in unix milliseconds by the server's clock; null: they are not. */
  sinceMs = $state<number | null>(null);
  /** How many workflows, batches and schedules have changed since; null: that is not known. */
  waiting = $state<number | null>(0);
  readonly #changed = new Set<string>();
  readonly #listeners = new Set<() => void>();

  get paused(): boolean {
    return this.sinceMs !== null;
  }

  /** The instant up to which times that go on are shown. */
  get nowMs(): number {
    return this.sinceMs ?? clock.now;
  }

  /** told: whether changes are told of now. */
  toggle(told: boolean): void {
    const ended = this.paused;
    this.sinceMs = ended ? null : clock.now;
    this.waiting = told ? 0 : null;
    this.#changed.clear();
    if (ended) for (const one of [...this.#listeners]) one();
  }

  /** These have changed. missing: there may be others. */
  note(changes: readonly Change[], missing: boolean): void {
    if (!this.paused) return;
    for (const one of changes) this.#changed.add(`${one.kind} ${one.id}`);
    this.waiting = missing || this.waiting === null ? null : this.#changed.size;
  }

  /** Call it whenever they go on, until the function that is returned is called. */
  onResume(act: () => void): () => void {
    this.#listeners.add(act);
    return () => this.#listeners.delete(act);
  }
}

export const updates = new Updates();
