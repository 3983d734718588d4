/** Texts in the language of the preferences, of which that one alone is loaded. */
import { announce } from "../lib/announcement.svelte";
import { type Language, preferences } from "../lib/preferences.svelte";
import type { en } from "./en";
import { fill, type Translation, type Values } from "./filling";

export type Word = keyof typeof en;
type Catalogue = Translation<typeof en>;

const LOADS: Record<Language, () => Promise<Catalogue>> = {
  en: async () => (await import("./en")).en,
  ru: async () => (await import("./ru")).ru,
};

/** Each in its own. */
export const LANGUAGES: Record<Language, string> = { en: "English", ru: "Русский" };

/** What is shown; it stays until the texts of another language are there. */
let spoken = $state.raw<{ language: Language; words: Catalogue }>({ language: "en", words: {} as Catalogue });

/** Show the texts of a language, once they are loaded; to be called before any text is shown. */
export async function speak(language: Language): Promise<void> {
  const words = await LOADS[language]();
  if (preferences.language !== language) return; // another one was chosen meanwhile
  spoken = { language, words };
  document.documentElement.lang = language;
}

/** The language that could not be shown when it was chosen last. */
export const unloaded = $state<{ language: Language | null }>({ language: null });

/** As the preferences want it; where its texts cannot be loaded, that is said in the language that is shown. */
export function followLanguage(): void {
  const { language } = preferences;
  if (language === spoken.language) return;
  unloaded.language = null;
  speak(language).catch(() => {
    if (preferences.language !== language) return;
    preferences.language = spoken.language;
    unloaded.language = language;
    announce(t("set.language.failed", { language: LANGUAGES[language] }));
  });
}

/** Whether the catalogue has it. */
export function isWord(word: string): word is Word {
  return word in spoken.words;
}

/** The text, with its values; `n` chooses among its forms. */
export function t(word: Word, values: Values = {}): string {
  const { language, words } = spoken;
  return fill(words[word], values, language, preferences.numbers === "groups");
}

/** The word for a status; a newer server may know more of them, which are shown as they are. */
export function statusWord(status: string): string {
  const word = `status.${status}`;
  return isWord(word) ? t(word) : status;
}
