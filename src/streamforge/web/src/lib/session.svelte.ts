/** What this tab knows of the server: its token, what the token may do, whether it answers, and its clock. */
import type { Problem, Role } from "../api/types";
import { paused } from "./backoff";
import { Reach } from "./reach";

const KEY = "streamforge.token";
const PROBE_MS = 10_000;

export const session = $state({
  /** In this tab only; never in the address, a cookie or a log. */
  token: null as string | null,
  role: null as Role | null,
  version: "",
  /** Why the token, or that there is none, is refused. */
  refused: null as Problem | null,
  /** The server does not answer. */
  failing: false,
  /** When it is asked again, by this machine's clock. */
  againMs: null as number | null,
  /** When the server last answered, by this machine's clock. */
  answeredMs: null as number | null,
  /** How far the server's clock is ahead of this machine's. */
  offsetMs: 0,
});

const returns = new Set<() => void>();

const reach = new Reach({
  async ask() {
    try {
      const signal = AbortSignal.timeout(PROBE_MS);
      const answer = await fetch("/healthz", { signal, cache: "no-store", credentials: "omit" });
      // A proxy before it answers in its place where it is gone, but not with JSON.
      return (answer.headers.get("Content-Type") ?? "").includes("json");
    } catch {
      return false;
    }
  },
  pause: paused,
  now: Date.now,
  chance: Math.random,
  changed(failing, againMs) {
    const back = session.failing && !failing;
    session.failing = failing;
    session.againMs = againMs;
    if (back) for (const one of [...returns]) one();
  },
});

/** This tab's storage; where the browser allows none, nothing is kept for a page that is loaded again. */
export function tabStorage(): Pick<Storage, "getItem" | "setItem" | "removeItem"> {
  try {
    return sessionStorage;
  } catch {
    return { getItem: () => null, setItem: () => {}, removeItem: () => {} };
  }
}

/** The token of an address's fragment `#token=…`, or null. */
export function tokenOf(hash: string): string | null {
  return new URLSearchParams(hash.replace(/^#/, "")).get("token");
}

/** Keep the token that the address holds, and take it out of the address and of the history. */
export function takeToken(): void {
  const given = tokenOf(location.hash);
  if (given !== null) {
    history.replaceState(history.state, "", location.pathname + location.search);
    keepToken(given);
  } else {
    session.token = tabStorage().getItem(KEY);
  }
}

export function keepToken(token: string): void {
  tabStorage().setItem(KEY, token);
  session.token = token;
  session.role = null;
  session.refused = null;
}

/** The server answered, if only to refuse. date: the header of its answer; it counts whole seconds. */
export function answered(date: string | null = null): void {
  const now = Date.now();
  session.answeredMs = now;
  const server = date === null ? Number.NaN : Date.parse(date);
  if (Math.abs(server + 500 - now - session.offsetMs) > 2000) session.offsetMs = server + 500 - now;
  reach.answered();
}

/** A request got no answer of the server's: see whether it answers at all. */
export function missed(): void {
  reach.missed();
}

/** Ask at once whether it answers. */
export function askNow(): void {
  reach.again();
}

/** Call it whenever the server answers again, until the function that is returned is called. */
export function onReturn(act: () => void): () => void {
  returns.add(act);
  return () => returns.delete(act);
}

/** Why what needs an operator cannot be done, as a key of the catalogue; null: it can. */
export function whyNot(): "role.reader" | "role.unknown" | null {
  if (session.role === "operator") return null;
  return session.role === "reader" ? "role.reader" : "role.unknown";
}
