/** Why something failed, as a launcher tells it: what happened, and the last lines that the worker logged. */
const LAST_WORDS = /; it last wrote:\n/;

export interface Told {
  what: string;
  /** Lines of a log, often JSON; empty where none were told. */
  wrote: string;
}

/** The reason in its parts. */
export function toldBy(reason: string): Told {
  const found = LAST_WORDS.exec(reason);
  if (found === null) return { what: reason, wrote: "" };
  return { what: reason.slice(0, found.index), wrote: reason.slice(found.index + found[0].length) };
}
