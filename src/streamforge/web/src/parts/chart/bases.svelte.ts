/** The prices that changes in per cent are counted from: of each series the first one of the view, whatever bars it has. */
import { get } from "../../api/client";
import type { FirstPrice } from "../../api/types";
import { FirstPrices, type Found } from "../../lib/firstprices";
import { seriesPath } from "../../lib/pictures.svelte";
import type { TimeWindow } from "../../lib/timewindow";

export class Bases {
  #found = $state.raw<Found>(new Map());
  readonly #asking = new FirstPrices(
    (name, span, signal) => get<FirstPrice>(`${seriesPath(name)}/first-price`, { ...span }, signal),
    (found) => {
      this.#found = found;
    },
  );

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
  look(names: readonly string[], view: TimeWindow): void {
    this.#asking.look(names, view);
  }

  refresh(): void {
    this.#asking.refresh();
  }

  close(): void {
    this.#asking.close();
  }
}
