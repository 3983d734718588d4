/** Texts in the language of the preferences. */
import { type Language, preferences } from "../lib/preferences.svelte";
import { en } from "./en";
import { fill, type Translation, type Values } from "./filling";
import { ru } from "./ru";

export type Word = keyof typeof en;

export const catalogues: Record<Language, Translation<typeof en>> = { en, ru };

/** The text, with its values; `n` chooses among its forms. */
export function t(word: Word, values: Values = {}): string {
  const { language, numbers } = preferences;
  return fill(catalogues[language][word], values, language, numbers === "groups");
}

/** The word for a status; a newer server may know more of them, which are shown as they are. */
export function statusWord(status: string): string {
  const word = `status.${status}`;
  return word in en ? t(word as Word) : status;
}
