/** The prices that changes in per cent are counted from: of each series the first one of the view, whatever bars it has. */
import { get } from "../../api/client";
import type { FirstPrice } from "../../api/types";
import { backoffMs, retryAfterMs } from "../../lib/backoff";
import { seriesPath } from "../../lib/pictures.svelte";
import type { TimeWindow } from "../../lib/timewindow";
import { textOf } from "../../lib/view";

const SETTLED_MS = 200;

export class Bases {
  #found = $state.raw<ReadonlyMap<string, FirstPrice | Error>>(new Map());
  #asked = "";
  #failures = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #ending = new AbortController();

  /** name: `SYMBOL:TYPE`. Null: nothing is stored in the view, or it is not known yet, or why it is not. */
  of(name: string): FirstPrice | null {
    const found = this.#found.get(name);
    return found === undefined || found instanceof Error ? null : found;
  }

  error(name: string): Error | null {
    const found = this.#found.get(name);
    return found instanceof Error ? found : null;
  }

  /** Those of these series in this view, once it has come to rest; until then those of the view before. */
  look(names: readonly string[], { startMs, endMs }: TimeWindow): void {
    // What the address says of the view, so that a link shows the same.
    const span = { start: textOf(startMs), end: textOf(Math.ceil(endMs / 1000) * 1000) };
    const asked = JSON.stringify([span, names]);
    if (asked === this.#asked) return;
    this.close();
    this.#asked = asked;
    this.#failures = 0;
    if (names.length > 0) this.#timer = setTimeout(() => void this.#ask(names, span), SETTLED_MS);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#ending.abort();
    this.#ending = new AbortController();
  }

  async #ask(names: readonly string[], span: { start: string; end: string }): Promise<void> {
    const { signal } = this.#ending;
    const found = await Promise.all(
      names.map((name) =>
        get<FirstPrice>(`${seriesPath(name)}/first-price`, span, signal).catch((error: unknown) => error as Error),
      ),
    );
    if (signal.aborted) return;
    this.#found = new Map(names.map((name, at) => [name, found[at] as FirstPrice | Error]));
    if (!found.some((one) => one instanceof Error)) return;
    this.#failures += 1;
    const wait = Math.max(backoffMs(this.#failures, Math.random()), ...found.map(retryAfterMs));
    this.#timer = setTimeout(() => void this.#ask(names, span), wait);
  }
}
