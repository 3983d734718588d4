/** The series that are shown beside another one: each with bars of its own for the same view. */
import { Pictures } from "../../lib/pictures.svelte";
import type { View } from "../../lib/view";
import type { Other } from "./candlechart";

export const MOST = 4;
const COLORS = ["var(--link)", "var(--halted)", "var(--good)", "var(--text)"];

export class Compared {
  #kept = $state.raw<ReadonlyMap<string, Pictures>>(new Map());

  /** Those that are asked for, in order. bars: null until they are there. */
  get shown(): readonly (Other & { error: Error | null })[] {
    return [...this.#kept].map(([name, one], at) => ({
      name: name.replace(":", " "),
      color: COLORS[at % COLORS.length] as string,
      bars: one.bars,
      error: one.error,
    }));
  }

  /** names: `SYMBOL:TYPE` each. */
  look(names: readonly string[], view: View, extent: View, widthPx: number): void {
    const wanted = [...new Set(names)].filter((name) => /^[^:]+:[^:]+$/.test(name)).slice(0, MOST);
    if (wanted.join("\n") !== [...this.#kept.keys()].join("\n")) {
      for (const [name, one] of this.#kept) if (!wanted.includes(name)) one.close();
      this.#kept = new Map(wanted.map((name) => [name, this.#kept.get(name) ?? made(name)]));
    }
    for (const one of this.#kept.values()) one.look(view, extent, widthPx);
  }

  close(): void {
    for (const one of this.#kept.values()) one.close();
  }
}

function made(name: string): Pictures {
  const [symbol, type] = name.split(":") as [string, string];
  return new Pictures(symbol, type);
}
