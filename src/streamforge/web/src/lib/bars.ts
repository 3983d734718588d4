/** Bars of a series as points of a picture, and the runs of bars that lack something. Nothing is carried on. */
import type { Bars, StoredSeries, Verdict } from "../api/types";

/** Why a bar lacks records: a verdict, or that records which were proven to be stored are not there. */
export type Reason = Exclude<Verdict, "stored"> | "gone";

export interface Candle {
  time: number;
  open: number;
  high: number;
  low: number;
  close: number;
}
/** A bar's place, with or without a price. time: unix seconds, as the chart wants it. */
export type Point = Candle | { time: number };

/** Bars that follow each other and lack something for one reason. first, end: half-open, as are the instants.
 *
 * A hole ends where what was asked for ends, also within a bar of which a part was asked for.
 */
export interface BarRun {
  first: number;
  end: number;
  startMs: number;
  endMs: number;
  reason: Reason;
}

/** Where each bar opens, and where the last one ends. */
export function edgesOf(bars: Bars): number[] {
  return [...bars.time, bars.end_ms];
}

/** A point for each bar of the grid; one without a record is a place without a price, so that a hole has its width. */
export function pointsOf(bars: Bars): Point[] {
  return bars.time.map((ms, at) => candleOf(bars, at) ?? { time: ms / 1000 });
}

/** The points in per cent above a price, so that other series can be compared; without it none has a price. */
export function inPercent(points: readonly Point[], base: number | null): Point[] {
  const share = (price: number): number => 100 * (price / (base as number) - 1);
  return points.map((one) => {
    if (!("open" in one)) return one;
    if (!base) return { time: one.time };
    const { time, open, high, low, close } = one;
    return { time, open: share(open), high: share(high), low: share(low), close: share(close) };
  });
}

/** The bar as a candle; null: it has no record, or they are not added up yet. */
export function candleOf(bars: Bars, at: number): Candle | null {
  const [open, high, low, close] = [bars.open[at], bars.high[at], bars.low[at], bars.close[at]];
  if (!bars.n[at] || open == null || high == null || low == null || close == null) return null;
  return { time: (bars.time[at] as number) / 1000, open, high, low, close };
}

/** Why the bar lacks records; null: it lacks none, as far as anybody knows. */
export function reasonOf(bars: Bars, at: number): Reason | null {
  const [verdict, n, expected] = [bars.verdict[at], bars.n[at], bars.expected[at]];
  if (verdict !== undefined && verdict !== "stored") return verdict;
  return n != null && expected != null && n < expected ? "gone" : null;
}

/** Whether records are expected and not there; what is not over, or closed, is no hole. */
export function isHole(reason: string): boolean {
  return reason !== "pending" && reason !== "closed" && reason !== "stored";
}

/** How many holes a series has in what was asked for of it. */
export function holesOf(one: StoredSeries): number {
  return one.asked.reduce((sum, { verdict, segments }) => sum + (isHole(verdict) ? segments : 0), 0);
}

/** The runs of bars that lack something, ascending. */
export function runsOf(bars: Bars): BarRun[] {
  const found: BarRun[] = [];
  bars.time.forEach((openMs, at) => {
    const reason = reasonOf(bars, at);
    if (reason === null) return;
    const closeMs = bars.time[at + 1] ?? bars.end_ms;
    const [startMs, endMs] = isHole(reason) ? judgedOf(bars, openMs, closeMs) : [openMs, closeMs];
    const last = found.at(-1);
    if (last?.end === at && last.reason === reason) Object.assign(last, { end: at + 1, endMs });
    else found.push({ first: at, end: at + 1, startMs, endMs, reason });
  });
  return found;
}

/** The run that has the bar, else the nearest hole at most so many bars away: of many bars one is less than a pixel. */
export function runAt(runs: readonly BarRun[], at: number, reach: number): BarRun | undefined {
  const away = ({ first, end }: BarRun): number => Math.max(first - at, at - end + 1, 0);
  const near = runs.filter((run) => away(run) === 0 || (isHole(run.reason) && away(run) <= reach));
  return near.reduce<BarRun | undefined>((one, other) => (one && away(one) <= away(other) ? one : other), undefined);
}

/** What of a bar the server has judged: where a part of it was asked for, that part alone. */
function judgedOf(bars: Bars, openMs: number, closeMs: number): [number, number] {
  const [startMs, endMs] = [bars.asked_start_ms, bars.asked_end_ms];
  if (startMs == null || endMs == null || endMs <= openMs || startMs >= closeMs) return [openMs, closeMs];
  return [Math.max(openMs, startMs), Math.min(closeMs, endMs)];
}

/** So long may the newest records of a live series be on their way to their proof. */
const SETTLING_MS = 60_000;

/** Bars of a live series: what is newer than what was judged goes on, unless it takes too long. */
export function goingOn(bars: Bars): Bars {
  const judgedMs = bars.asked_end_ms;
  if (judgedMs === null) return bars;
  const isNew = (at: number): boolean => bars.verdict[at] === "unknown" && (bars.time[at] as number) >= judgedMs;
  const length = bars.time.filter((_, at) => isNew(at)).length * (bars.step_ms ?? 0);
  if (length === 0 || length > Math.max(SETTLING_MS, 2 * (bars.step_ms ?? 0))) return bars;
  return { ...bars, verdict: bars.verdict.map((one, at) => (isNew(at) ? "pending" : one)) };
}

const COLUMNS = ["time", "open", "high", "low", "close", "volume", "n", "expected", "verdict"] as const;

/** `old` with `news` in the place of its end; null: they are of other lengths, or do not meet. */
export function joined(old: Bars, news: Bars): Bars | null {
  const met = news.start_ms >= old.start_ms && news.start_ms <= old.end_ms;
  if (old.interval !== news.interval || !met || news.end_ms < old.end_ms) return null;
  const kept = old.time.filter((ms) => ms < news.start_ms).length;
  const columns = COLUMNS.map((name) => [name, [...old[name].slice(0, kept), ...news[name]]]);
  const lacking = old.n.slice(0, kept).filter((n) => n === null).length;
  const { end, end_ms, asked_end_ms } = news;
  const edges = { asked_start_ms: old.asked_start_ms ?? news.asked_start_ms, asked_end_ms, end, end_ms };
  return { ...old, ...Object.fromEntries(columns), ...edges, computing: lacking + news.computing };
}

/** For each bar of `main` what `other` has of the same time and length; else no price. */
export function alignedTo(main: Bars, other: Bars): Point[] {
  const same = main.interval === other.interval;
  const places = new Map(same ? other.time.map((ms, at) => [ms, at]) : []);
  return main.time.map((ms) => {
    const at = places.get(ms);
    return (at === undefined ? null : candleOf(other, at)) ?? { time: ms / 1000 };
  });
}
