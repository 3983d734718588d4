/** Asks for bars as the view moves: the latest request alone counts, and what is computed behind it is fetched. */
import type { Bars } from "../api/types";
import { backoffMs, retryAfterMs } from "./backoff.ts";
import type { Asked } from "./view.ts";

const SETTLED_MS = 120;
/** So soon it asks for what is still computed at first, later less often: what is coarse comes first. */
const COMPUTED_MS = 250;
const COMPUTED_MOST_MS = 1000;

export interface Answers {
  /** The bars, and what they were asked with. */
  show: (bars: Bars, asked: Asked) => void;
  fail: (error: Error, againMs: number) => void;
}

export class BarRequests {
  readonly #ask: (asked: Asked, signal: AbortSignal) => Promise<Bars>;
  readonly #answers: Answers;
  #asked: Asked | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #under: AbortController | null = null;
  #failures = 0;
  /** Answers in a row of which something was still computed. */
  #unready = 0;
  #repeat = false;

  constructor(ask: (asked: Asked, signal: AbortSignal) => Promise<Bars>, answers: Answers) {
    this.#ask = ask;
    this.#answers = answers;
  }

  /** What was asked for last. */
  get asked(): Asked | null {
    return this.#asked;
  }

  /** Ask for this once nobody has asked for something else for a moment; what is under way is outdated. */
  look(asked: Asked): void {
    this.#asked = asked;
    this.#failures = this.#unready = 0;
    this.#stop();
    this.#timer = setTimeout(() => void this.#turn(), SETTLED_MS);
  }

  /** Ask for the same at once; where that is under way, once more behind it. */
  again(): void {
    this.#repeat = this.#under !== null;
    if (this.#asked === null || this.#repeat) return;
    clearTimeout(this.#timer);
    void this.#turn();
  }

  /** As `again`, but not before a pause after a failure is over. */
  refresh(): void {
    if (this.#failures === 0 || this.#under !== null) this.again();
  }

  /** More was put behind the end of what was asked for. */
  extend(endMs: number): void {
    if (this.#asked !== null) this.#asked = { ...this.#asked, endMs: Math.max(this.#asked.endMs, endMs) };
  }

  close(): void {
    this.#asked = null;
    this.#stop();
  }

  #stop(): void {
    clearTimeout(this.#timer);
    this.#under?.abort();
    this.#under = null;
    this.#repeat = false;
  }

  async #turn(): Promise<void> {
    const asked = this.#asked;
    if (asked === null) return;
    const under = new AbortController();
    this.#under = under;
    let wait: number | null = null;
    try {
      const bars = await this.#ask(asked, under.signal);
      if (this.#under !== under) return;
      this.#failures = 0;
      if (bars.computing > 0) wait = Math.min(COMPUTED_MS << this.#unready, COMPUTED_MOST_MS);
      this.#unready = bars.computing > 0 ? Math.min(this.#unready + 1, 8) : 0;
      this.#answers.show(bars, asked);
    } catch (error) {
      if (this.#under !== under) return;
      this.#failures += 1;
      wait = Math.max(backoffMs(this.#failures, Math.random()), retryAfterMs(error));
      this.#answers.fail(error as Error, Date.now() + wait);
    }
    if (this.#under !== under) return;
    this.#under = null;
    if (this.#repeat && this.#failures === 0) wait = 0;
    this.#repeat = false;
    if (wait !== null) this.#timer = setTimeout(() => void this.#turn(), wait);
  }
}
