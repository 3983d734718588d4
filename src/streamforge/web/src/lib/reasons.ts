/** How the reasons of holes look and what can be done: one letter, colour and pattern each, in picture and legend. */
import type { Reason } from "./bars";

export interface Look {
  letter: string;
  /** As the style sheet would say it. */
  color: string;
  /** An SVG path in a square of 8 by 8, repeated. */
  path: string;
}

export const TILE = 8;

export const LOOKS: Record<Reason, Look> = {
  ours: { letter: "O", color: "var(--bad)", path: "M-2 2L2-2M-2 10L10-2M6 10L10 6" },
  gone: { letter: "G", color: "var(--bad)", path: "M0 0L8 8M8 0L0 8M0 4H8" },
  unknown: { letter: "U", color: "var(--halted)", path: "M-2 6L2 10M-2-2L10 10M6-2L10 2" },
  lost: { letter: "L", color: "var(--busy)", path: "M0 0L8 8M8 0L0 8" },
  expired: { letter: "X", color: "light-dark(#6b3fa0, #c9a8ff)", path: "M2 0V8M6 0V8" },
  exchange: { letter: "E", color: "var(--quiet)", path: "M0 2H8M0 6H8" },
  pending: { letter: "P", color: "var(--link)", path: "M3 4H5M7 0H8M0 0H1M7 8H8M0 8H1" },
  closed: { letter: "C", color: "var(--edge)", path: "M0 4H8M4 0V8" },
};

export const REASONS = Object.keys(LOOKS) as Reason[];

/** Those that a load of the range can do something about. */
const LOADED: readonly Reason[] = ["ours", "unknown", "expired"];

/** What to do about a hole: load it, count what is stored, or nothing. */
export function remedyOf(reason: Reason): "load" | "verify" | null {
  if (reason === "gone") return "verify";
  return LOADED.includes(reason) ? "load" : null;
}

/** As a shell reads it. */
export function quoted(text: string): string {
  return /^[\w.:/=,@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** The command that does the same; null: none does. server: `http://HOST:PORT`. */
export function commandOf(reason: Reason, symbol: string, type: string, range: string, server: string): string | null {
  const remedy = remedyOf(reason);
  const named = [symbol, type, range].map(quoted).join(" ");
  if (remedy === "load") return `streamforge load ${named} --server ${server}`;
  return remedy === "verify" ? `streamforge coverage ${named} --verify --server ${server}` : null;
}

/** A picture for other tools. None of them holds a token. path: of the bars, with its query. */
export function copiesOf(symbol: string, type: string, range: string, link: string, path: string, server: string) {
  const asked = [symbol, type, range].map((text) => JSON.stringify(text)).join(", ");
  return {
    link,
    cli: `streamforge export ${[symbol, type, range].map(quoted).join(" ")} --server ${server}`,
    curl: `curl -H "Authorization: Bearer $STREAMFORGE_TOKEN" ${quoted(server + path)}`,
    python: `streamforge.read(${asked}, server=${JSON.stringify(server)}).frame`,
  };
}
