/** Asks for the last bars of a picture up to now, to put them behind the others. */
import type { Bars } from "../api/types";
import { Pause } from "./backoff.ts";
import { joined } from "./bars.ts";
import type { Asked } from "./view.ts";

const TAIL_BARS = 45;
const TAIL_MOST = 50;

export class BarTail {
  readonly #ask: (asked: Asked, signal: AbortSignal) => Promise<Bars>;
  readonly #pause: Pause;
  #under: AbortController | null = null;

  constructor(ask: (asked: Asked, signal: AbortSignal) => Promise<Bars>, pause = new Pause()) {
    this.#ask = ask;
    this.#pause = pause;
  }

  /**
   * The bars up to now; null: they are asked for already, or too long for it, or what came does not meet them. After a
   * failure nothing is asked before a pause is over.
   */
  async behind(old: Bars, nowMs: number): Promise<Bars | null> {
    const step = old.step_ms;
    if (step === null || this.#under !== null || this.#pause.leftMs > 0) return null;
    const endMs = Math.max(Math.ceil(nowMs / step) * step, old.end_ms);
    if (endMs - old.end_ms > TAIL_BARS * step) return null;
    this.#under = new AbortController();
    try {
      const asked = { startMs: endMs - TAIL_BARS * step, endMs, max: TAIL_MOST };
      const news = await this.#ask(asked, this.#under.signal);
      this.#pause.over();
      return joined(old, news);
    } catch (error) {
      this.#pause.failed(error);
      throw error;
    } finally {
      this.#under = null;
    }
  }

  close(): void {
    this.#under?.abort();
  }
}
