/** Words for names of the API; a newer server may know more of them, which are shown as they are. */
import type { Note } from "../api/types";
import { type Live, type LiveNow, reasonOf } from "../lib/livestate";
import { bytes, duration, instant, range } from "../lib/localized";
import { noteValues } from "../lib/notes";
import { isWord, t } from "./words.svelte";

/** The word; null: the catalogue has none. */
export function wordFor(prefix: string, name: string): string | null {
  const word = `${prefix}.${name}`;
  return isWord(word) ? t(word) : null;
}

const wordOf = (prefix: string) => (name: string) => wordFor(prefix, name) ?? name;

export const letterCode = wordOf("letters.code");
export const topicKind = wordOf("topics.kind");
export const verdictWord = wordOf("verdict");
/** What stands in the pattern of a verdict. */
export const verdictLetter = (verdict: string): string => wordFor("letter", verdict) ?? "?";
export const eventWord = wordOf("event");
export const requestWord = wordOf("request");
export const sourceWord = wordOf("source");
export const trustWord = wordOf("trust");
export const partWord = wordOf("part");
export const liveWord = wordOf("live.state");
const whyWord = wordOf("why");

/** Why a part of a plan is loaded from its source. */
export function whyWords(codes: readonly string[]): string {
  return codes.map(whyWord).join("; ");
}

/** What the server notes, in words; null: the catalogue does not know its code. */
export function noteWords({ code, values }: Note): string | null {
  const word = `note.${code}`;
  return isWord(word) ? t(word, noteValues(values, { bytes, duration, instant, range })) : null;
}

/** What a cause begins with as words, and the rest as the server says it. */
export function causeWord(cause: string): string {
  const [head = "", ...rest] = cause.split(": ");
  return [wordOf("cause")(head), ...rest].join(": ");
}

/** Why a live workflow is in its state. */
export function liveReason(live: Live, now: LiveNow): string {
  return t(`live.why.${reasonOf(live, now)}`, { n: live.open_holes, age: duration(now.frameS ?? 0) });
}
