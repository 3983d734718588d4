/** Candles and volume on a canvas, and other series as bars; what is in view is told in unix milliseconds. */
import {
  BarSeries,
  CandlestickSeries,
  createChart,
  HistogramSeries,
  type IChartApi,
  type ISeriesApi,
  LineSeries,
  type Logical,
  type LogicalRange,
  type PriceFormat,
  TickMarkType,
  type Time,
  type UTCTimestamp,
} from "lightweight-charts";
import type { Bars } from "../../api/types";
import { Axis } from "../../lib/axis";
import { alignedTo, candleOf, edgesOf, inPercent, type Point, pointsOf, runsOf } from "../../lib/bars";
import { decimal } from "../../lib/format";
import { LOOKS } from "../../lib/reasons";
import type { TimeWindow } from "../../lib/timewindow";
import type { Gesture } from "../../lib/view";
import { type Inks, inksOf, onInks } from "./inks";
import { Shading } from "./shading";

export interface Other {
  name: string;
  /** `var(--link)` */
  color: string;
  bars: Bars | null;
  /** The price that its change in per cent is counted from; null: there is none, or it is not known yet. */
  base: number | null;
}

export interface Heard {
  view: (view: TimeWindow, gesture: Gesture) => void;
  /** Over which bar the pointer is; null: none. */
  over: (at: number | null) => void;
  /** reach: how many bars beside it a person may have meant. */
  choose: (at: number, reach: number) => void;
}

export interface Wording {
  instant: (ms: number) => string;
  language: string;
}

const NAMES = ["--ground", "--line", "--text", "--good", "--bad", "--link", "--halted", "--edge"];
const MOST_DIGITS = 8;
const REACH_PX = 8;
const PERCENT: PriceFormat = { type: "custom", formatter: (value: number) => `${value.toFixed(2)}%`, minMove: 0.01 };

export class CandleChart {
  readonly #host: HTMLElement;
  readonly #heard: Heard;
  readonly #chart: IChartApi;
  readonly #candles: ISeriesApi<"Candlestick">;
  readonly #volume: ISeriesApi<"Histogram">;
  /** Not seen: it has a value at the last bar, as the chart scrolls no further than a view behind the last value. */
  readonly #grid: ISeriesApi<"Line">;
  readonly #shading = new Shading();
  readonly #ends: (() => void)[] = [];
  #others: { series: ISeriesApi<"Bar">; bars: Bars | null; base: number | null }[] = [];
  /** The price that the candles' change in per cent is counted from; undefined: they show prices. */
  #base: number | null | undefined;
  #axis: Axis | null = null;
  #bars: Bars | null = null;
  #view: TimeWindow = { startMs: 0, endMs: 1 };
  #inks: Inks = {};
  #settling = 0;
  #held = false;
  #gesture: Gesture = {};
  /** Whether a person has moved it since it began to settle. */
  #acted = false;
  #closed = false;
  #waiting: (() => void) | null = null;

  constructor(host: HTMLElement, heard: Heard) {
    this.#host = host;
    this.#heard = heard;
    this.#chart = createChart(host, {
      layout: { attributionLogo: false, fontFamily: "system-ui, sans-serif" },
      timeScale: { timeVisible: true, minBarSpacing: 0.1, lockVisibleTimeRangeOnResize: true },
      rightPriceScale: { minimumWidth: 76 },
      kineticScroll: { mouse: false, touch: false },
      handleScroll: { vertTouchDrag: false },
      crosshair: { mode: 0 },
    });
    const plain = { priceLineVisible: false, lastValueVisible: false };
    this.#grid = this.#chart.addSeries(LineSeries, { ...plain, visible: false, priceScaleId: "grid" });
    this.#volume = this.#chart.addSeries(HistogramSeries, {
      ...plain,
      priceScaleId: "volume",
      priceFormat: { type: "volume" },
    });
    this.#volume.priceScale().applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
    this.#candles = this.#chart.addSeries(CandlestickSeries, plain);
    this.#candles.priceScale().applyOptions({ scaleMargins: { top: 0.08, bottom: 0.22 } });
    this.#candles.attachPrimitive(this.#shading);
    this.#listen();
    this.paint();
  }

  #listen(): void {
    this.#chart.timeScale().subscribeVisibleLogicalRangeChange((range) => this.#moved(range));
    this.#chart.subscribeCrosshairMove(({ logical }) => this.#heard.over(this.#place(logical)));
    this.#chart.subscribeClick(({ logical }) => {
      const at = this.#place(logical);
      if (at !== null) this.#heard.choose(at, this.#reach());
    });
    const sizes = new ResizeObserver(() => this.#fit());
    sizes.observe(this.#host);
    // While the chart is dragged it counts bars from where that began: other bars wait for its end.
    const act = (): void => {
      this.#acted = true;
      this.#gesture = {};
    };
    const hold = (): void => {
      this.#held = true;
      act();
    };
    const release = (): void => {
      this.#held = false;
      this.#waiting?.();
      this.#waiting = null;
    };
    // Before the chart acts on it.
    this.#host.addEventListener("pointerdown", hold, { capture: true });
    this.#host.addEventListener("wheel", act, { passive: true, capture: true });
    addEventListener("pointerup", release);
    addEventListener("pointercancel", release);
    this.#ends.push(
      () => sizes.disconnect(),
      () => removeEventListener("pointerup", release),
      () => removeEventListener("pointercancel", release),
      onInks(() => this.paint()),
    );
  }

  /** Show these bars and the view of them. */
  draw(bars: Bars, view: TimeWindow): void {
    if (this.#held && this.#bars !== null) {
      this.#waiting = () => this.draw(bars, this.#view);
      return;
    }
    this.#bars = bars;
    this.#axis = bars.time.length > 0 ? new Axis(edgesOf(bars)) : null;
    this.#settle();
    const last = bars.time.length - 1;
    this.#grid.setData(timed(bars.time.map((ms, at) => ({ time: ms / 1000, ...(at === last ? { value: 0 } : {}) }))));
    this.#fillVolume(bars);
    this.#fillPrices();
    this.#shading.show(runsOf(bars));
    this.look(view, true);
  }

  /** Show others beside them. own: each on a scale of its own, else all in per cent, the candles above `base`. */
  compare(others: readonly Other[], own: boolean, base: number | null): void {
    for (const one of this.#others) this.#chart.removeSeries(one.series);
    this.#base = others.length > 0 && !own ? base : undefined;
    this.#settle();
    this.#others = others.map((one, at) => {
      const color = this.#inks[one.color] ?? "";
      const series = this.#chart.addSeries(BarSeries, {
        title: one.name,
        upColor: color,
        downColor: color,
        openVisible: false,
        priceLineVisible: false,
        priceScaleId: own ? `own-${at}` : "right",
      });
      series.priceScale().applyOptions({ scaleMargins: { top: 0.08, bottom: 0.22 } });
      return { series, bars: one.bars, base: one.base };
    });
    this.#fillPrices();
    this.look(this.#view, true);
  }

  /** Bring this into view. */
  look(view: TimeWindow, anew = false): void {
    if (this.#axis === null || (view === this.#view && !anew)) return;
    this.#view = view;
    this.#settle();
    const from = this.#axis.positionOf(view.startMs);
    // Of coarse bars it may be a part of one, until finer ones are there.
    this.#chart.timeScale().setVisibleLogicalRange({ from, to: Math.max(from, this.#axis.positionOf(view.endMs) - 1) });
  }

  /** Mark a bar; null: none. */
  point(at: number | null): void {
    this.#shading.point(at);
  }

  word({ instant, language }: Wording): void {
    this.#chart.applyOptions({
      localization: { locale: language, timeFormatter: (time: Time) => instant(Number(time) * 1000) },
      timeScale: { tickMarkFormatter: (time: Time, type: TickMarkType) => tick(Number(time) * 1000, instant, type) },
    });
  }

  /** Take the colours that the style sheet has now. */
  paint(): void {
    const looks = Object.values(LOOKS).map((one) => one.color);
    this.#inks = inksOf(this.#host, new Set([...NAMES.map((name) => `var(${name})`), ...looks]));
    const ink = (name: string): string => this.#inks[`var(${name})`] ?? "";
    const [good, bad, line] = [ink("--good"), ink("--bad"), ink("--line")];
    this.#chart.applyOptions({
      layout: { background: { color: ink("--ground") }, textColor: ink("--text") },
      grid: { vertLines: { color: line }, horzLines: { color: line } },
      timeScale: { borderColor: line },
      rightPriceScale: { borderColor: line },
    });
    // A rising candle is hollow: it can be told without its colour.
    const rising = { upColor: ink("--ground"), borderUpColor: good, wickUpColor: good };
    this.#candles.applyOptions({ ...rising, downColor: bad, borderDownColor: bad, wickDownColor: bad });
    this.#volume.applyOptions({ color: ink("--edge") });
    this.#shading.paint(this.#inks);
  }

  close(): void {
    this.#closed = true;
    for (const end of this.#ends) end();
    this.#chart.remove();
  }

  #fillVolume(bars: Bars): void {
    this.#volume.setData(
      timed(
        bars.time.map((ms, at) => {
          const value = bars.volume[at];
          const none = candleOf(bars, at) === null || value == null;
          return none ? { time: ms / 1000 } : { time: ms / 1000, value };
        }),
      ),
    );
  }

  #fillPrices(): void {
    const main = this.#bars;
    if (main === null) return;
    const percent = this.#base !== undefined;
    const scaled = (points: Point[], base: number | null): Point[] => (percent ? inPercent(points, base) : points);
    const formatOf = (bars: Bars): PriceFormat => (percent ? PERCENT : plainOf(bars));
    this.#candles.applyOptions({ priceFormat: formatOf(main) });
    this.#candles.setData(timed(scaled(pointsOf(main), this.#base ?? null)));
    for (const { series, bars, base } of this.#others) {
      series.applyOptions({ priceFormat: formatOf(bars ?? main) });
      series.setData(bars === null ? [] : timed(scaled(alignedTo(main, bars), base)));
    }
  }

  #fit(): void {
    this.#settle();
    this.#chart.resize(this.#host.clientWidth, this.#host.clientHeight);
    this.look(this.#view, true);
  }

  /** What the chart says of its view until the next frame is drawn is not what a person did. */
  #settle(): void {
    if (this.#settling === 0) this.#acted = this.#held;
    this.#settling += 1;
    requestAnimationFrame(() => requestAnimationFrame(() => this.#settled()));
  }

  #settled(): void {
    this.#settling -= 1;
    if (this.#settling > 0 || this.#axis === null || this.#closed || !this.#acted) return;
    // It cannot show fewer than two bars, nor more than its width has room for: others are asked for.
    const range = this.#chart.timeScale().getVisibleLogicalRange();
    const [from, end] = [this.#axis.positionOf(this.#view.startMs), this.#axis.positionOf(this.#view.endMs)];
    if (range !== null && end - from > 2 && Math.abs(range.from - from) > 1) this.#moved(range);
  }

  #moved(range: LogicalRange | null): void {
    if (range === null || this.#axis === null || this.#settling > 0) return;
    this.#view = { startMs: this.#axis.msAt(range.from), endMs: this.#axis.msAt(range.to + 1) };
    this.#heard.view(this.#view, this.#gesture);
  }

  /** How many bars lie within the reach of a pointer. */
  #reach(): number {
    const scale = this.#chart.timeScale();
    const [from, to] = [scale.logicalToCoordinate(0 as Logical), scale.logicalToCoordinate(1 as Logical)];
    return from === null || to === null || to <= from ? 0 : Math.floor(REACH_PX / (to - from));
  }

  #place(logical: number | undefined): number | null {
    const at = logical === undefined ? -1 : Math.round(logical);
    return at >= 0 && at < (this.#axis?.length ?? 0) ? at : null;
  }
}

function timed<T extends Point | { time: number; value?: number }>(
  points: readonly T[],
): (T & { time: UTCTimestamp })[] {
  return points as unknown as (T & { time: UTCTimestamp })[];
}

/** Prices with as many digits behind the point as they have. */
function plainOf(bars: Bars): PriceFormat {
  let most = 0;
  for (const price of bars.close) {
    if (price !== null) most = Math.max(most, (decimal(price).split(".")[1] ?? "").length);
  }
  const precision = Math.min(most, MOST_DIGITS);
  return { type: "price", precision, minMove: 10 ** -precision };
}

/** A label of the time axis. The years and months of the chart begin in UTC, whichever clock is shown. */
function tick(ms: number, instant: Wording["instant"], type: TickMarkType): string {
  if (type === TickMarkType.Year) return new Date(ms).toISOString().slice(0, 4);
  if (type === TickMarkType.Month) return new Date(ms).toISOString().slice(0, 7);
  const text = instant(ms);
  const [date, time] = [text.slice(0, 10), text.slice(11)];
  if (type === TickMarkType.DayOfMonth)
    return time === "00:00:00" ? date.slice(5) : `${date.slice(5)} ${time.slice(0, 5)}`;
  return type === TickMarkType.TimeWithSeconds ? time : time.slice(0, 5);
}
