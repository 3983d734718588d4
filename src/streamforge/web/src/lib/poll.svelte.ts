/**
 * Asks while a screen shows the answer: when the feed says that it has changed, or again and again where there is no
 * feed; with back-off after a failure, not at all in a hidden tab, or by itself while updates are paused.
 */
import { backoffMs, retryAfterMs } from "./backoff";
import type { Change } from "./changes";
import { feed } from "./feed.svelte";
import { onReturn } from "./session.svelte";
import { updates } from "./updates.svelte";

/** Changes that come while it asks are put into its answer too. */
const MOST_HELD = 5000;
/** What the feed tells of is asked for at most so often, and in case of a defect at least so often. */
const LEAST_MS = 1000;
const SETTLED_MS = 60_000;

/** Puts changes into what is shown; whether it must be asked for again, or how often at most, in ms. */
export type Merge = (changes: readonly Change[]) => boolean | number;

function paceOf(wanted: boolean | number): number {
  return typeof wanted === "number" ? wanted : wanted ? LEAST_MS : Number.POSITIVE_INFINITY;
}

export class Poll<T> {
  data = $state.raw<T | null>(null);
  error = $state.raw<Error | null>(null);
  /** When it asks again after a failure, by this machine's clock. */
  againMs = $state<number | null>(null);
  #turn: (() => void) | null = null;
  /** What `data` are the answer to. */
  #of = "";

  /**
   * Ask at once and then every `everyMs`, until the function that is returned is called. merge: where there is a feed,
   * changes are put in by it instead, and it is asked again only where they do not say all, and each minute. of: what
   * is asked: where it fails, what was the answer to something else is shown no more.
   */
  run(
    ask: (signal: AbortSignal) => Promise<T>,
    everyMs: number | (() => number) = 1000,
    merge?: Merge,
    of = "",
  ): () => void {
    const ending = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let failures = 0;
    let asking = false;
    // By performance.now(), which goes on evenly where this machine's clock is set.
    let askedMs = 0;
    let dueMs = Number.POSITIVE_INFINITY;
    /** How soon to ask again for what changes while it asks. */
    let soonMs = Number.POSITIVE_INFINITY;
    let mutedMs = 0;
    let held: Change[] = [];
    let shown = false;
    const holds = (): boolean => updates.paused && shown;
    const every = (): number => {
      if (merge !== undefined && feed.live) return SETTLED_MS;
      return typeof everyMs === "number" ? everyMs : everyMs();
    };
    const askIn = (ms: number): void => {
      clearTimeout(timer);
      dueMs = performance.now() + ms;
      timer = setTimeout(byItself, ms);
    };
    const turn = async (): Promise<void> => {
      clearTimeout(timer);
      dueMs = Number.POSITIVE_INFINITY;
      if (ending.signal.aborted || (document.hidden && this.data !== null)) return;
      soonMs = asking ? Math.min(soonMs, LEAST_MS) : Number.POSITIVE_INFINITY;
      if (asking) return;
      asking = true;
      askedMs = performance.now();
      let wait = 0;
      try {
        this.data = await ask(ending.signal);
        this.#of = of;
        shown = true;
        this.error = this.againMs = null;
        failures = mutedMs = 0;
        if (held.length > 0 && merge) soonMs = Math.min(soonMs, paceOf(merge(held)));
        wait = Math.min(soonMs, every());
      } catch (error) {
        if (ending.signal.aborted) return;
        failures += 1;
        if (this.#of !== of) this.data = null;
        const asked = retryAfterMs(error);
        wait = Math.max(backoffMs(failures, Math.random()), asked);
        mutedMs = performance.now() + asked;
        this.error = error as Error;
        this.againMs = Date.now() + wait;
      } finally {
        asking = false;
        held = [];
      }
      if (!ending.signal.aborted) askIn(wait);
    };
    const atOnce = (): void => void turn();
    const byItself = (): void => {
      if (!holds()) atOnce();
    };
    /** Unless the server has asked to wait. */
    const now = (): void => {
      if (performance.now() >= mutedMs) byItself();
    };
    const changes = (news: readonly Change[]): void => {
      if (merge === undefined || holds()) return;
      if (asking) held = [...held, ...news].slice(-MOST_HELD);
      if (this.data === null) return;
      const pace = paceOf(merge(news));
      if (failures > 0) return;
      if (asking) soonMs = Math.min(soonMs, pace);
      else if (askedMs + pace < dueMs) askIn(Math.max(0, askedMs + pace - performance.now()));
    };
    const again = (): void => {
      if (merge !== undefined) now();
    };
    const stops = [
      feed.listen({ changes, again }),
      onReturn(now),
      updates.onResume(() => askIn(Math.max(0, mutedMs - performance.now()))),
    ];
    document.addEventListener("visibilitychange", now);
    this.#turn = atOnce;
    now();
    return () => {
      ending.abort();
      clearTimeout(timer);
      for (const stop of stops) stop();
      document.removeEventListener("visibilitychange", now);
    };
  }

  /** Ask now. */
  again(): void {
    this.#turn?.();
  }
}
