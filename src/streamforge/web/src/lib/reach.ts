/** Whether the server answers. A request without an answer does not say so: then the server itself is asked. */
import { backoffMs } from "./backoff.ts";

export interface Probe {
  /** Whether the server answers now; never throws. */
  ask(): Promise<boolean>;
  /** Wait; it ends early when `ended` does. */
  pause(ms: number, ended: AbortSignal): Promise<void>;
  /** Unix milliseconds. */
  now(): number;
  /** 0 to 1. */
  chance(): number;
  /** It has changed. againMs: when it is asked next. */
  changed(failing: boolean, againMs: number | null): void;
}

export class Reach {
  readonly #probe: Probe;
  #checking: AbortController | null = null;
  #pausing: AbortController | null = null;
  #failing = false;

  constructor(probe: Probe) {
    this.#probe = probe;
  }

  /** An answer came: it answers. */
  answered(): void {
    this.#checking?.abort();
    this.#pausing?.abort();
    this.#checking = null;
    if (!this.#failing) return;
    this.#failing = false;
    this.#probe.changed(false, null);
  }

  /** A request got no answer. */
  missed(): void {
    if (this.#checking === null) void this.#check();
  }

  /** Ask now. */
  again(): void {
    this.#pausing?.abort();
  }

  async #check(): Promise<void> {
    const checking = new AbortController();
    this.#checking = checking;
    for (let failures = 1; !checking.signal.aborted; failures += 1) {
      const well = await this.#probe.ask();
      if (checking.signal.aborted) return;
      if (well) {
        this.answered();
        return;
      }
      this.#failing = true;
      const ms = backoffMs(failures, this.#probe.chance());
      this.#probe.changed(true, this.#probe.now() + ms);
      this.#pausing = new AbortController();
      await this.#probe.pause(ms, this.#pausing.signal);
    }
  }
}
