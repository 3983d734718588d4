/** Asks for the first prices of series in a view: the latest view alone counts. */
import type { FirstPrice } from "../api/types";
import { isMissing, Pause, retryAfterMs } from "./backoff.ts";
import type { TimeWindow } from "./timewindow.ts";
import { textOf } from "./view.ts";

const SETTLED_MS = 200;

export interface Span {
  start: string;
  end: string;
}
export type Found = ReadonlyMap<string, FirstPrice | Error>;

export class FirstPrices {
  readonly #ask: (name: string, span: Span, signal: AbortSignal) => Promise<FirstPrice>;
  readonly #show: (found: Found) => void;
  readonly #pause: Pause;
  #names: readonly string[] = [];
  #span: Span = { start: "", end: "" };
  #timer: ReturnType<typeof setTimeout> | undefined;
  #ending = new AbortController();

  constructor(
    ask: (name: string, span: Span, signal: AbortSignal) => Promise<FirstPrice>,
    show: (found: Found) => void,
    pause = new Pause(),
  ) {
    this.#ask = ask;
    this.#show = show;
    this.#pause = pause;
  }

  /** Those of these series in this view, once it has come to rest. */
  look(names: readonly string[], { startMs, endMs }: TimeWindow): void {
    // What the address says of the view, so that a link shows the same.
    const span = { start: textOf(startMs), end: textOf(Math.ceil(endMs / 1000) * 1000) };
    if (JSON.stringify([span, names]) === JSON.stringify([this.#span, this.#names])) return;
    this.close();
    this.#pause.over();
    this.#names = names;
    this.#span = span;
    this.#askIn(SETTLED_MS);
  }

  /** What is stored has changed: ask for the same, but not before a pause after a failure is over. */
  refresh(): void {
    if (this.#pause.leftMs > 0) return;
    this.close();
    this.#askIn(0);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#ending.abort();
    this.#ending = new AbortController();
  }

  #askIn(ms: number, names = this.#names, before: Found = new Map()): void {
    if (names.length > 0) this.#timer = setTimeout(() => void this.#turn(names, before), ms);
  }

  /** before: what is known of other series already. */
  async #turn(names: readonly string[], before: Found): Promise<void> {
    const { signal } = this.#ending;
    const each = names.map(async (name): Promise<[string, FirstPrice | Error]> => {
      const found = this.#ask(name, this.#span, signal).catch((error: unknown) => error as Error);
      return [name, await found];
    });
    const answers = await Promise.all(each);
    if (signal.aborted) return;
    const found = new Map([...before, ...answers]);
    this.#show(found);
    const failed = answers.filter(([, one]) => one instanceof Error && !isMissing(one));
    if (failed.length === 0) return this.#pause.over();
    const longest = failed.map(([, one]) => one).sort((one, other) => retryAfterMs(other) - retryAfterMs(one))[0];
    this.#askIn(
      this.#pause.failed(longest),
      failed.map(([name]) => name),
      found,
    );
  }
}
