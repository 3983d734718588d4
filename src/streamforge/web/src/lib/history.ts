import type { EventPage, StoredEvent } from "../api/types";

const KEPT = 100;

/** The newest events of a history; how many there were, and behind which to ask on. */
export interface History {
  shown: readonly StoredEvent[];
  all: number;
  after: number;
}

export const NOTHING: History = { shown: [], all: 0, after: -1 };

/** The history with a page more; memory stays bounded whatever its length. */
export function grown(history: History, page: EventPage): History {
  const news = page.events.filter((one) => one.id > history.after);
  return {
    shown: [...history.shown, ...news].slice(-KEPT),
    all: history.all + news.length,
    after: Math.max(history.after, page.after),
  };
}
