/** How a live workflow does at a moment after the server has told of it: its ages go on without another answer. */
import type { Summary } from "../api/types";

export type Live = NonNullable<Summary["live"]>;
/** undriven: nobody looks after it now, whatever it was last. */
export type LiveState = Live["state"] | "undriven";

/** So long without a frame is silence, as for the server. */
const SILENT_AFTER_S = 60;
/** A smaller difference of the clocks is none, as for the health report. */
const SKEW_MS = 5000;

export interface LiveNow {
  state: LiveState;
  /** Seconds since what is proven ends; null: nothing is proven, or it has ended. */
  provenS: number | null;
  /** Seconds since the newest frame came; null: none is told of, or it has ended. */
  frameS: number | null;
}

/** Null: it is not live, or not planned. heardMs: when its answer came; nowMs by the same clock, the server's. */
export function liveAt(one: Pick<Summary, "live" | "undriven">, heardMs: number, nowMs: number): LiveNow | null {
  const { live } = one;
  if (live === null) return null;
  const { proven_through_ms: provenMs, behind_seconds: behindS } = live;
  // What the feed tells again after a break was made earlier than it comes.
  const madeMs = provenMs !== null && behindS ? provenMs + behindS * 1000 : heardMs;
  const passedS = Math.max(0, nowMs - madeMs) / 1000;
  const frameS = live.frame_age_seconds === null ? null : live.frame_age_seconds + passedS;
  const silent = live.state === "live" && frameS !== null && frameS > SILENT_AFTER_S;
  return {
    state: one.undriven !== null ? "undriven" : silent ? "behind" : live.state,
    provenS: behindS === null ? null : behindS + passedS,
    frameS,
  };
}

/** Why it is in this state, the most telling of the reasons: below `live.why` of the catalogue. */
export function reasonOf(live: Live, { state, provenS, frameS }: LiveNow) {
  switch (state) {
    case "syncing":
      if (provenS === null) return "nothing";
      return live.trust === "unverifiable" ? "unverified" : "history";
    case "behind":
      return (frameS ?? 0) > SILENT_AFTER_S ? "silent" : "late";
    case "suspect":
      return live.open_holes > 0 ? "holes" : "doubtful";
    default:
      return state;
  }
}

/** Whether it does what it should. */
export function healthy(state: LiveState): boolean {
  return state === "live" || state === "ended";
}

/** By how many seconds the exchange's clock is ahead of the loader's, where that is worth a word; else null. */
export function skewS(live: Live): number | null {
  const ms = live.clock_offset_ms ?? 0;
  return Math.abs(ms) > SKEW_MS ? ms / 1000 : null;
}
