const LEAST_MS = 1000;
const MOST_MS = 30_000;
/** No server is waited for longer: a day. */
const MOST_WAIT_S = 86_400;

/** How long to wait after so many failures in a row: 1 to 30 s. chance: 0 to 1, so that many tabs do not ask at once. */
export function backoffMs(failures: number, chance: number): number {
  const longest = Math.min(MOST_MS, LEAST_MS * 2 ** (failures - 1));
  return Math.max(LEAST_MS, longest * (0.5 + chance / 2));
}

/** How long the server asks to wait by a refusal; 0: it does not say, or it was no refusal. */
export function retryAfterMs(error: unknown): number {
  return error instanceof Object && "retryAfterS" in error ? 1000 * Number(error.retryAfterS) : 0;
}

/** How many seconds the server asks to wait before it is asked again; 0: it does not say. */
export function retryAfterS(headers: Headers): number {
  return Math.min(MOST_WAIT_S, Number(headers.get("Retry-After")) || 0);
}

/** Wait; it ends early when the signal is given. */
export function paused(ms: number, ended: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    const end = (): void => {
      clearTimeout(timer);
      resolve();
    };
    if (ended.aborted) end();
    else ended.addEventListener("abort", end, { once: true });
  });
}

/** Whether the server has nothing of that name: then it is of use to ask again only once something has changed. */
export function isMissing(error: unknown): boolean {
  const problem = error instanceof Object && "problem" in error ? (error.problem as { status?: number }) : {};
  return problem.status === 404;
}

/** The pause after failures in a row, and at least as long as the server asks for. now: ms that only grow. */
export class Pause {
  readonly #now: () => number;
  readonly #chance: () => number;
  #failures = 0;
  #endMs = 0;

  constructor(now: () => number = () => performance.now(), chance: () => number = Math.random) {
    this.#now = now;
    this.#chance = chance;
  }

  get leftMs(): number {
    return Math.max(0, this.#endMs - this.#now());
  }

  /** A failure more; how long to wait. */
  failed(error: unknown): number {
    this.#failures += 1;
    const wait = Math.max(backoffMs(this.#failures, this.#chance()), retryAfterMs(error));
    this.#endMs = this.#now() + wait;
    return wait;
  }

  over(): void {
    this.#failures = this.#endMs = 0;
  }
}
