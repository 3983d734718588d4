/** An axis of bars of any length: positions count bars, and lie within one as time does. */
export class Axis {
  /** Where each bar opens and, behind them, where the last one ends, unix milliseconds. */
  readonly edges: readonly number[];

  /** edges: ascending, of at least one bar. */
  constructor(edges: readonly number[]) {
    this.edges = edges;
  }

  get length(): number {
    return this.edges.length - 1;
  }

  /** The position of an instant; beyond the bars as if the outer ones went on. */
  positionOf(ms: number): number {
    const at = Math.min(Math.max(this.#behind(ms) - 1, 0), this.length - 1);
    const [start, end] = this.#bar(at);
    return at + (ms - start) / (end - start);
  }

  /** The instant of a position; likewise. */
  msAt(position: number): number {
    const at = Math.min(Math.max(Math.floor(position), 0), this.length - 1);
    const [start, end] = this.#bar(at);
    return start + (position - at) * (end - start);
  }

  #bar(at: number): [number, number] {
    return [this.edges[at] as number, this.edges[at + 1] as number];
  }

  /** How many edges are at or before the instant. */
  #behind(ms: number): number {
    let low = 0;
    let high = this.edges.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.edges[middle] as number) <= ms) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
