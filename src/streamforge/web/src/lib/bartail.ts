/** Asks for the last bars of a picture up to now, to put them behind the others. */
import type { Bars } from "../api/types";
import { Pause } from "./backoff.ts";
import { joined } from "./bars.ts";
import type { Asked } from "./view.ts";

const TAIL_BARS = 45;
const TAIL_MOST = 50;

/** Where bars up to now end; null: they do not, as bars of months have no length. */
function endOf(old: Bars, nowMs: number): number | null {
  return old.step_ms === null ? null : Math.max(Math.ceil(nowMs / old.step_ms) * old.step_ms, old.end_ms);
}

/** By how much `old` ends before now, where that is too much to be put behind it; else 0. */
export function leftBehind(old: Bars, nowMs: number): number {
  const byMs = (endOf(old, nowMs) ?? old.end_ms) - old.end_ms;
  return byMs > TAIL_BARS * (old.step_ms ?? 0) ? byMs : 0;
}

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
    const endMs = endOf(old, nowMs);
    if (endMs === null || leftBehind(old, nowMs) > 0 || this.#under !== null || this.#pause.leftMs > 0) return null;
    this.#under = new AbortController();
    try {
      const asked = { startMs: endMs - TAIL_BARS * (old.step_ms ?? 0), endMs, max: TAIL_MOST };
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
