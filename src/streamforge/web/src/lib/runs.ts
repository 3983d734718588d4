/** Runs of verdicts: how each verdict looks, and where a run lies in a picture. Instants are unix milliseconds. */
import type { TimeWindow } from "./timewindow.ts";

/** Start and end, half-open, and the verdict; a newer server may know more of them. */
export type VerdictRun = readonly [startMs: number, endMs: number, verdict: string];

export const TILE = 8;
/** From what lacks nothing to what somebody has to do something about: the worse one is drawn over the other. */
/** The lines of a pattern, in a square of `TILE` pixels that is repeated; null: it is filled. */
export const VERDICT_LINES = {
  stored: null,
  closed: "M0 4H8M4 0V8",
  pending: "M3 4H5M7 0H8M0 0H1M7 8H8M0 8H1",
  exchange: "M0 2H8M0 6H8",
  expired: "M2 0V8M6 0V8",
  lost: "M0 0L8 8M8 0L0 8",
  unknown: "M-2 6L2 10M-2-2L10 10M6-2L10 2",
  ours: "M-2 2L2-2M-2 10L10-2M6 10L10 6",
} as const satisfies Record<string, string | null>;

export type Verdict = keyof typeof VERDICT_LINES;
export const VERDICTS = Object.keys(VERDICT_LINES) as Verdict[];
/** Those that keep a series from being complete. */
export const LACKING: readonly Verdict[] = ["lost", "unknown", "ours"];

export function isVerdict(word: string): word is Verdict {
  return word in VERDICT_LINES;
}

/** The verdict that a run is drawn as. */
export function drawnAs(run: VerdictRun): Verdict {
  return isVerdict(run[2]) ? run[2] : "unknown";
}

/** A run as it is drawn, in pixels from the left edge. */
export interface Piece {
  run: VerdictRun;
  left: number;
  width: number;
}

const LEAST_PX = 3;
const LETTER_PX = 22;
const SETTLED: readonly Verdict[] = ["stored", "closed", "pending"];

/** The runs of a window as pieces of a band. A hole is never too thin to be seen. */
export function piecesOf(runs: readonly VerdictRun[], window: TimeWindow, width: number): Piece[] {
  const scale = width / (window.endMs - window.startMs);
  return inWindow(runs, window).map((run) => {
    const left = (Math.max(run[0], window.startMs) - window.startMs) * scale;
    const wide = (Math.min(run[1], window.endMs) - window.startMs) * scale - left;
    if (SETTLED.includes(drawnAs(run)) || wide >= LEAST_PX) return { run, left, width: wide };
    return { run, left: Math.max(0, Math.min(left, width - LEAST_PX)), width: LEAST_PX };
  });
}

/** Those of which a part lies in the window. */
export function inWindow(runs: readonly VerdictRun[], window: TimeWindow): VerdictRun[] {
  return runs.filter((run) => run[1] > window.startMs && run[0] < window.endMs);
}

/** One outline for all pieces of each verdict, so that a picture has few elements, also of many runs. */
export function outlinesOf(pieces: readonly Piece[], height: number): { verdict: Verdict; path: string }[] {
  return VERDICTS.flatMap((verdict) => {
    const some = pieces.filter((one) => drawnAs(one.run) === verdict);
    if (some.length === 0) return [];
    return {
      verdict,
      path: some.map((one) => `M${px(one.left)} 0h${px(one.width)}v${height}h-${px(one.width)}z`).join(""),
    };
  });
}

/** Where the letters of the pieces are that have room for one, of the widest `most`. */
export function lettersOf(pieces: readonly Piece[], most: number): { verdict: string; x: number }[] {
  const widest = pieces.filter((one) => one.width >= LETTER_PX).sort((one, other) => other.width - one.width);
  return widest.slice(0, most).map((one) => ({
    verdict: one.run[2],
    x: px(one.left + one.width / 2),
  }));
}

/** The piece that is seen at `x`: of those that meet there the one on top. */
export function pieceAt(pieces: readonly Piece[], x: number): Piece | null {
  let found: Piece | null = null;
  for (const one of pieces) {
    if (x < one.left || x > one.left + one.width) continue;
    if (found === null || rank(one) > rank(found)) found = one;
  }
  return found;
}

function rank(piece: Piece): number {
  return VERDICTS.indexOf(drawnAs(piece.run));
}

function px(value: number): number {
  return Math.round(value * 100) / 100;
}
