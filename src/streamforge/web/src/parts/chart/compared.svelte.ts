/** The series that are shown beside another one: each with bars of its own for the same view. */
import type { FirstPrice } from "../../api/types";
import { Pictures } from "../../lib/pictures.svelte";
import type { TimeWindow } from "../../lib/timewindow";
import { Bases } from "./bases.svelte";
import type { Other } from "./candlechart";

export const MOST = 4;
const COLORS = ["var(--link)", "var(--halted)", "var(--good)", "var(--text)"];

export interface Shown extends Other {
  error: Error | null;
  /** What its change in per cent is counted from; null: see `base`. */
  first: FirstPrice | null;
}

export class Compared {
  readonly #main: string;
  readonly #bases = new Bases();
  #kept = $state.raw<ReadonlyMap<string, Pictures>>(new Map());

  /** main: the series beside which they are shown, `SYMBOL:TYPE`. */
  constructor(main: string) {
    this.#main = main;
  }

  /** Those that are asked for, in order. bars: null until they are there. */
  get shown(): readonly Shown[] {
    return [...this.#kept].map(([name, one], at) => ({
      name: name.replace(":", " "),
      color: COLORS[at % COLORS.length] as string,
      bars: one.bars,
      error: one.error ?? this.#bases.error(name),
      first: this.#bases.of(name),
      base: this.#bases.of(name)?.price ?? null,
    }));
  }

  /** What the main series' change in per cent is counted from, or why that is not known. */
  get first(): FirstPrice | null {
    return this.#bases.of(this.#main);
  }

  get error(): Error | null {
    return this.#bases.error(this.#main);
  }

  /** names: `SYMBOL:TYPE` each. own: each has a scale of its own. */
  look(names: readonly string[], own: boolean, view: TimeWindow, extent: TimeWindow, widthPx: number): void {
    const wanted = [...new Set(names)].filter(isName).slice(0, MOST);
    if (wanted.join("\n") !== [...this.#kept.keys()].join("\n")) {
      for (const [name, one] of this.#kept) if (!wanted.includes(name)) one.close();
      this.#kept = new Map(wanted.map((name) => [name, this.#kept.get(name) ?? made(name)]));
    }
    for (const one of this.#kept.values()) one.look(view, extent, widthPx);
    this.#bases.look(own || wanted.length === 0 ? [] : [...new Set([this.#main, ...wanted])], view);
  }

  /** What is stored of the main series has changed: its first price may be another one. */
  refresh(): void {
    this.#bases.refresh();
  }

  close(): void {
    for (const one of this.#kept.values()) one.close();
    this.#bases.close();
  }
}

/** Whether a series can have the name, `SYMBOL:TYPE`. */
function isName(name: string): boolean {
  return /^[^:]+:[^:]+$/.test(name);
}

function made(name: string): Pictures {
  const [symbol, type] = name.split(":") as [string, string];
  return new Pictures(symbol, type);
}
