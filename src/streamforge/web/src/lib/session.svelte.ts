/** What this tab knows of the server: its token, what the token may do, whether it answers, and its clock. */
import type { Problem, Role } from "../api/types";

const KEY = "streamforge.token";

export const session = $state({
  /** In this tab only; never in the address, a cookie or a log. */
  token: null as string | null,
  role: null as Role | null,
  version: "",
  /** Why the token, or that there is none, is refused. */
  refused: null as Problem | null,
  failing: false,
  /** When the server last answered, by this machine's clock. */
  answeredMs: null as number | null,
  /** How far the server's clock is ahead of this machine's. */
  offsetMs: 0,
});

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
    session.token = sessionStorage.getItem(KEY);
  }
}

export function keepToken(token: string): void {
  sessionStorage.setItem(KEY, token);
  session.token = token;
  session.role = null;
  session.refused = null;
}

/** Note whether the server answered. date: the header of its answer; it counts whole seconds. */
export function answered(well: boolean, date: string | null = null): void {
  session.failing = !well;
  if (!well) return;
  const now = Date.now();
  session.answeredMs = now;
  const server = date === null ? Number.NaN : Date.parse(date);
  if (Math.abs(server + 500 - now - session.offsetMs) > 2000) session.offsetMs = server + 500 - now;
}

/** Why what needs an operator cannot be done, as a key of the catalogue; null: it can. */
export function whyNot(): "role.reader" | "role.unknown" | null {
  if (session.role === "operator") return null;
  return session.role === "reader" ? "role.reader" : "role.unknown";
}
