/** The bars of one series for the view of it: asked for as it moves, and again while something of them may change. */
import { get } from "../api/client";
import type { Bars } from "../api/types";
import { BarRequests } from "./barrequests";
import { BarTail, leftBehind } from "./bartail";
import type { TimeWindow } from "./timewindow";
import { type Asked, askedOf, does, levelsOf } from "./view";

export function barsPath(symbol: string, type: string): string {
  return `${seriesPath(`${symbol}:${type}`)}/bars`;
}

/** name: `SYMBOL:TYPE`. */
export function seriesPath(name: string): string {
  return `/series/${name.split(":").map(encodeURIComponent).join("/")}`;
}

export class Pictures {
  bars = $state.raw<Bars | null>(null);
  error = $state.raw<Error | null>(null);
  againMs = $state<number | null>(null);
  /** Whether other bars than those shown were asked for. */
  busy = $state(false);
  readonly #path: string;
  readonly #levels: readonly number[];
  readonly #asking: BarRequests;
  readonly #tail: BarTail;

  constructor(symbol: string, type: string) {
    this.#path = barsPath(symbol, type);
    this.#levels = levelsOf(type);
    this.#tail = new BarTail((asked, signal) => this.#get(asked, signal));
    this.#asking = new BarRequests((asked, signal) => this.#get(asked, signal), {
      show: (bars) => this.#show(bars),
      fail: (error, againMs) => {
        this.error = error;
        this.againMs = againMs;
      },
    });
  }

  /** What is in view now, of a picture so wide; asks for bars where those asked for last do not do. */
  look(view: TimeWindow, extent: TimeWindow, widthPx: number): void {
    const now = askedOf(view, extent, widthPx, this.#levels);
    const before = this.#asking.asked;
    if (before !== null && does(before, now, view, this.#levels)) return;
    this.busy = true;
    this.#asking.look(now);
  }

  again(): void {
    this.#asking.again();
  }

  /** Ask again by itself: not before a pause after a failure is over. */
  refresh(): void {
    this.#asking.refresh();
  }

  /**
   * Ask for the last bars up to now alone, and put them behind the others. Returns how far the end has moved. After a
   * long pause, as of a hidden tab, they are too many: the end has moved, and what lies there is for `look` to ask.
   */
  async live(nowMs: number): Promise<number> {
    const old = this.bars;
    if (old === null || this.busy || this.againMs !== null) return 0;
    const by = leftBehind(old, nowMs);
    if (by > 0) return by;
    const all = await this.#tail.behind(old, nowMs);
    if (all === null || this.bars !== old) return 0;
    this.bars = all;
    this.#asking.extend(all.end_ms);
    return all.end_ms - old.end_ms;
  }

  close(): void {
    this.#asking.close();
    this.#tail.close();
  }

  #get({ startMs, endMs, max }: Asked, signal: AbortSignal): Promise<Bars> {
    return get<Bars>(this.#path, { start: startMs, end: endMs, max }, signal);
  }

  #show(bars: Bars): void {
    this.error = this.againMs = null;
    this.busy = bars.computing > 0;
    // Coarse bars say more than finer ones of which most are not added up yet.
    const coarse = this.bars !== null && this.bars.interval !== bars.interval;
    if (coarse && bars.computing * 2 > bars.time.length) return;
    this.bars = bars;
  }
}
