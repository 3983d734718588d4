/** Shades the holes of a picture behind its candles, each reason by colour, pattern and letter, and marks the cursor. */
import type {
  IPrimitivePaneRenderer,
  IPrimitivePaneView,
  ISeriesPrimitive,
  ITimeScaleApi,
  SeriesAttachedParameter,
  Time,
} from "lightweight-charts";
import type { BarRun, Reason } from "../../lib/bars";
import { LOOKS } from "../../lib/reasons";
import { TILE } from "../../lib/runs";
import { verdictLetter } from "../../words/codes.svelte";
import type { Inks } from "./inks";

type Target = Parameters<IPrimitivePaneRenderer["draw"]>[0];
type Scope = Parameters<Parameters<Target["useBitmapCoordinateSpace"]>[0]>[0];

const LEAST_WIDTH = 2;
const LETTER_WIDTH = 16;
const TINT = 0.14;

export class Shading implements ISeriesPrimitive<Time> {
  #runs: readonly BarRun[] = [];
  #cursor: number | null = null;
  #inks: Inks = {};
  #tiles = new Map<string, HTMLCanvasElement>();
  #scale: ITimeScaleApi<Time> | null = null;
  #update: (() => void) | null = null;
  readonly #views: readonly IPrimitivePaneView[] = [
    {
      zOrder: () => "bottom",
      renderer: () => ({ draw: (target) => this.#draw(target, (scope) => this.#holes(scope)) }),
    },
    { zOrder: () => "top", renderer: () => ({ draw: (target) => this.#draw(target, (scope) => this.#mark(scope)) }) },
  ];

  attached({ chart, requestUpdate }: SeriesAttachedParameter<Time>): void {
    this.#scale = chart.timeScale();
    this.#update = requestUpdate;
  }

  detached(): void {
    this.#scale = this.#update = null;
  }

  paneViews(): readonly IPrimitivePaneView[] {
    return this.#views;
  }

  /** runs: of the bars that the chart has. */
  show(runs: readonly BarRun[]): void {
    this.#runs = runs;
    this.#update?.();
  }

  /** The bar of the cursor; null: none. */
  point(at: number | null): void {
    this.#cursor = at;
    this.#update?.();
  }

  paint(inks: Inks): void {
    this.#inks = inks;
    this.#tiles.clear();
    this.#update?.();
  }

  #draw(target: Target, draw: (scope: Scope) => void): void {
    target.useBitmapCoordinateSpace((scope) => draw(scope));
  }

  /** Where bars begin and end, in pixels of the bitmap; null: it shows none. */
  #span(scope: Scope, first: number, end: number): [number, number] | null {
    const origin = this.#scale?.logicalToCoordinate(0 as never) ?? null;
    const next = this.#scale?.logicalToCoordinate(1 as never) ?? null;
    if (origin === null || next === null) return null;
    const [step, ratio] = [next - origin, scope.horizontalPixelRatio];
    const left = Math.round((origin + (first - 0.5) * step) * ratio);
    const width = Math.max(Math.round((end - first) * step * ratio), LEAST_WIDTH * ratio);
    return left + width < 0 || left > scope.bitmapSize.width ? null : [left, width];
  }

  #holes(scope: Scope): void {
    const { context, bitmapSize, horizontalPixelRatio: ratio } = scope;
    for (const run of this.#runs) {
      const found = this.#span(scope, run.first, run.end);
      if (found === null) continue;
      const [left, width] = found;
      const ink = this.#inks[LOOKS[run.reason].color] ?? "";
      if (run.reason === "pending") {
        this.#open(scope, ink, left, width);
        continue;
      }
      context.globalAlpha = TINT;
      context.fillStyle = ink;
      context.fillRect(left, 0, width, bitmapSize.height);
      context.globalAlpha = 1;
      context.fillStyle = context.createPattern(this.#tile(run.reason, ink, ratio), "repeat") ?? ink;
      context.fillRect(left, 0, width, bitmapSize.height);
      context.fillStyle = ink;
      context.fillRect(left, 0, ratio, bitmapSize.height);
      context.fillRect(left + width - ratio, 0, ratio, bitmapSize.height);
      if (width >= LETTER_WIDTH * ratio) this.#letter(scope, run.reason, ink, left, width);
    }
  }

  /** What still goes on lacks nothing: where it begins is marked, without a pattern. */
  #open({ context, bitmapSize, horizontalPixelRatio: ratio }: Scope, ink: string, left: number, width: number): void {
    context.fillStyle = context.strokeStyle = ink;
    context.globalAlpha = TINT / 3;
    context.fillRect(left, 0, width, bitmapSize.height);
    context.globalAlpha = 1;
    context.lineWidth = ratio;
    context.setLineDash([4 * ratio, 4 * ratio]);
    context.strokeRect(left + ratio / 2, -ratio, width - ratio, bitmapSize.height + 2 * ratio);
    context.setLineDash([]);
  }

  #letter(
    { context, bitmapSize, horizontalPixelRatio: ratio }: Scope,
    reason: Reason,
    ink: string,
    left: number,
    width: number,
  ): void {
    const [from, to] = [Math.max(left, 0), Math.min(left + width, bitmapSize.width)];
    const [middle, size] = [(from + to) / 2, 14 * ratio];
    context.fillStyle = this.#inks["var(--ground)"] ?? "";
    context.fillRect(middle - size / 2, 6 * ratio, size, size + 2 * ratio);
    context.fillStyle = ink;
    context.font = `bold ${12 * ratio}px sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(verdictLetter(reason), middle, 6 * ratio + size / 2 + ratio);
  }

  #tile(reason: Reason, ink: string, ratio: number): HTMLCanvasElement {
    const name = `${reason} ${ratio}`;
    const kept = this.#tiles.get(name);
    if (kept) return kept;
    const tile = document.createElement("canvas");
    tile.width = tile.height = Math.round(TILE * ratio);
    const context = tile.getContext("2d");
    if (context) {
      context.scale(tile.width / TILE, tile.width / TILE);
      context.strokeStyle = ink;
      context.lineWidth = 1.25;
      context.stroke(new Path2D(LOOKS[reason].path));
    }
    this.#tiles.set(name, tile);
    return tile;
  }

  #mark(scope: Scope): void {
    if (this.#cursor === null) return;
    const found = this.#span(scope, this.#cursor, this.#cursor + 1);
    if (found === null) return;
    const { context, bitmapSize, horizontalPixelRatio: ratio } = scope;
    context.strokeStyle = this.#inks["var(--text)"] ?? "";
    context.lineWidth = 2 * ratio;
    context.strokeRect(found[0] - ratio, ratio, found[1] + 2 * ratio, bitmapSize.height - 2 * ratio);
  }
}
