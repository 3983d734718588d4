/** Asks again and again while a screen shows the answer: with back-off after a failure, not at all in a hidden tab. */
import { Refused } from "../api/client";
import { backoffMs } from "./backoff";

export class Poll<T> {
  data = $state.raw<T | null>(null);
  error = $state.raw<Error | null>(null);
  /** When it asks again after a failure, by this machine's clock. */
  againMs = $state<number | null>(null);
  #turn: (() => void) | null = null;

  /** Ask at once and then every `everyMs`, until the function that is returned is called. */
  run(ask: (signal: AbortSignal) => Promise<T>, everyMs = 1000): () => void {
    const ending = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    let failures = 0;
    let asking = false;
    const turn = async (): Promise<void> => {
      clearTimeout(timer);
      if (asking || ending.signal.aborted || (document.hidden && this.data !== null)) return;
      asking = true;
      let wait = everyMs;
      try {
        this.data = await ask(ending.signal);
        this.error = this.againMs = null;
        failures = 0;
      } catch (error) {
        if (ending.signal.aborted) return;
        failures += 1;
        const asked = error instanceof Refused ? error.retryAfterS * 1000 : 0;
        wait = Math.max(backoffMs(failures, Math.random()), asked);
        this.error = error as Error;
        this.againMs = Date.now() + wait;
      } finally {
        asking = false;
      }
      if (!ending.signal.aborted) timer = setTimeout(() => void turn(), wait);
    };
    const shown = (): void => void turn();
    document.addEventListener("visibilitychange", shown);
    this.#turn = shown;
    shown();
    return () => {
      ending.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", shown);
    };
  }

  /** Ask now. */
  again(): void {
    this.#turn?.();
  }
}
