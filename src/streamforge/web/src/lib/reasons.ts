/** How the reasons of holes look and what can be done: one colour and pattern each, in picture and legend. */
import type { Reason } from "./bars";
import { quoted } from "./copies.ts";
import { VERDICT_LINES, type Verdict } from "./runs.ts";

export interface Look {
  /** As the style sheet would say it. */
  color: string;
  /** An SVG path in a square of 8 by 8, repeated. */
  path: string;
}

/** The pattern of a verdict is that of its runs. */
function look(verdict: Verdict, color: string): Look {
  return { color, path: VERDICT_LINES[verdict] ?? "" };
}

export const LOOKS: Record<Reason, Look> = {
  ours: look("ours", "var(--bad)"),
  gone: { color: "var(--bad)", path: "M0 0L8 8M8 0L0 8M0 4H8" },
  unknown: look("unknown", "var(--halted)"),
  lost: look("lost", "var(--busy)"),
  expired: look("expired", "light-dark(#6b3fa0, #c9a8ff)"),
  exchange: look("exchange", "var(--quiet)"),
  pending: look("pending", "var(--link)"),
  closed: look("closed", "var(--edge)"),
};

export const REASONS = Object.keys(LOOKS) as Reason[];

/** Those that a load of the range can do something about. */
const LOADED: readonly Reason[] = ["ours", "unknown", "expired"];

/** What to do about a hole: load it, count what is stored, or nothing. */
export function remedyOf(reason: Reason): "load" | "verify" | null {
  if (reason === "gone") return "verify";
  return LOADED.includes(reason) ? "load" : null;
}

/** The command that does the same; null: none does. server: `http://HOST:PORT`. */
export function commandOf(reason: Reason, symbol: string, type: string, range: string, server: string): string | null {
  const remedy = remedyOf(reason);
  const named = [symbol, type, range].map(quoted).join(" ");
  if (remedy === "load") return `streamforge load ${named} --server ${server}`;
  return remedy === "verify" ? `streamforge coverage ${named} --verify --server ${server}` : null;
}

/** A picture for other tools. None of them holds a token. path: of the bars, with its query. */
export function pictureCopies(symbol: string, type: string, range: string, link: string, path: string, server: string) {
  const asked = [symbol, type, range].map((text) => JSON.stringify(text)).join(", ");
  return {
    link,
    cli: `streamforge export ${[symbol, type, range].map(quoted).join(" ")} --server ${server}`,
    curl: `curl -H "Authorization: Bearer $STREAMFORGE_TOKEN" ${quoted(server + path)}`,
    python: `streamforge.read(${asked}, server=${JSON.stringify(server)}).frame`,
  };
}
