/** Keeps one stream of the feed open: it goes on behind the last event, with a growing pause after each failure. */
import { backoffMs } from "./backoff.ts";
import { type Change, told } from "./changes.ts";
import { EventParser } from "./sse.ts";

const MOST_FAILURES = 6;

export interface Source {
  /** Opens the stream behind the event; empty: from now on. Throws where it is refused. */
  open(lastId: string, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>>;
  /** Bytes came, if only a sign of life. */
  heard(): void;
  /** again: all that is shown is to be read again, and then changed by `changes`. */
  deliver(changes: readonly Change[], again: boolean, lastId: string): void;
  /** Whether changes come by the stream now. */
  state(live: boolean): void;
  /** Wait; it ends early where the server answers again, or the signal is given. */
  pause(ms: number, signal: AbortSignal): Promise<void>;
  /** 0 to 1. */
  chance(): number;
}

/** A pause that the server asks for. */
export class Later extends Error {
  readonly waitMs: number;

  constructor(text: string, waitMs: number) {
    super(text);
    this.waitMs = waitMs;
  }
}

/** Follow the feed until the signal is given. */
export async function follow(source: Source, lastId: string, signal: AbortSignal): Promise<void> {
  let last = lastId;
  let failures = 0;
  while (!signal.aborted) {
    let leastMs = 0;
    let ended: string | null = null;
    try {
      const parser = new EventParser();
      for await (const bytes of await source.open(last, signal)) {
        if (signal.aborted) return;
        source.heard();
        const events = parser.push(bytes);
        if (events.length === 0) continue;
        const found = told(events);
        last = events.at(-1)?.id || last;
        ended = found.ended;
        failures = 0;
        source.state(true);
        if (found.again || found.changes.length > 0) source.deliver(found.changes, found.again, last);
        if (ended !== null) break;
      }
    } catch (error) {
      if (error instanceof Later) leastMs = error.waitMs;
    }
    if (signal.aborted) return;
    source.state(false);
    // Another stream has taken this one's place; at once they would replace each other for ever.
    failures = ended === "replaced" ? MOST_FAILURES : Math.min(MOST_FAILURES, failures + 1);
    await source.pause(Math.max(leastMs, backoffMs(failures, source.chance())), signal);
  }
}
