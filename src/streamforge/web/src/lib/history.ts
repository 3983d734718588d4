import type { EventPage, StoredEvent } from "../api/types";

const KEPT = 10_000;
const ROWS = 25;
/** Events that say only that the worker lives. */
const HEARTBEATS: readonly unknown[] = ["loading", "pong"];

/** The newest events of a history; how many there were, and behind which to ask on. */
export interface History {
  kept: readonly StoredEvent[];
  all: number;
  after: number;
}

export const NOTHING: History = { kept: [], all: 0, after: -1 };

/** The history with a page more; memory stays bounded whatever its length. */
export function grown(history: History, page: EventPage): History {
  const news = page.events.filter((one) => one.id > history.after);
  if (news.length === 0 && page.after <= history.after) return history;
  return {
    kept: [...history.kept, ...news].slice(-KEPT),
    all: history.all + news.length,
    after: Math.max(history.after, page.after),
  };
}

/** Events that are shown at once. page: 0 has the newest. left: those that are left out of all pages. */
export interface Window {
  rows: StoredEvent[];
  page: number;
  pages: number;
  left: number;
}

export function windowOf(history: History, heartbeats: boolean, page: number): Window {
  const wanted = heartbeats ? history.kept : history.kept.filter((one) => !HEARTBEATS.includes(one.event.event));
  const pages = Math.max(1, Math.ceil(wanted.length / ROWS));
  const shown = Math.min(page, pages - 1);
  const end = wanted.length - shown * ROWS;
  const rows = wanted.slice(Math.max(0, end - ROWS), end).reverse();
  return { rows, page: shown, pages, left: history.kept.length - wanted.length };
}
