/** What the server says of a form that it refuses. */
import { Refused } from "../api/client";
import type { FieldError } from "../api/types";
import { byField } from "./asking";

export interface Said {
  /** By field of the form. */
  at: Record<string, FieldError[]>;
  /** Symbols that may have been meant. */
  meant: readonly string[];
  /** What belongs to no field; null: all of it does. */
  error: Error | null;
}

export const NOTHING_SAID: Said = { at: {}, meant: [], error: null };

export function saidOf(error: Error, names: ReadonlySet<string>): Said {
  if (!(error instanceof Refused)) return { ...NOTHING_SAID, error };
  const { errors, did_you_mean } = error.problem;
  const at = byField(errors, names);
  const whole = errors.length === 0 || at[""] !== undefined;
  return { at, meant: at.symbols ? did_you_mean : [], error: whole ? error : null };
}

const OF_THE_RANGE = ["span", "time_range", "since", "from"];

/** What is left of it once a person has changed a field. */
export function without(said: Said, name: string): Said {
  const gone = OF_THE_RANGE.includes(name) ? OF_THE_RANGE : [name];
  const at = Object.fromEntries(Object.entries(said.at).filter(([field]) => !gone.includes(field)));
  return { at, meant: name === "symbols" ? [] : said.meant, error: null };
}
