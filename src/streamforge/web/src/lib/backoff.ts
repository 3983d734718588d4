const LEAST_MS = 1000;
const MOST_MS = 30_000;

/** How long to wait after so many failures in a row: 1 to 30 s. chance: 0 to 1, so that many tabs do not ask at once. */
export function backoffMs(failures: number, chance: number): number {
  const longest = Math.min(MOST_MS, LEAST_MS * 2 ** (failures - 1));
  return Math.max(LEAST_MS, longest * (0.5 + chance / 2));
}

/** How long the server asks to wait by a refusal; 0: it does not say, or it was no refusal. */
export function retryAfterMs(error: unknown): number {
  return error instanceof Object && "retryAfterS" in error ? 1000 * Number(error.retryAfterS) : 0;
}
