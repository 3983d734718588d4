/** Words for codes of the API; a newer server may know more of them, which are shown as they are. */
import { en } from "./en";
import { t, type Word } from "./words.svelte";

function wordOf(prefix: string, code: string): string {
  const word = `${prefix}.${code}`;
  return word in en ? t(word as Word) : code;
}

export const letterCode = (code: string): string => wordOf("letters.code", code);
export const topicKind = (kind: string): string => wordOf("topics.kind", kind);
