/** How a person wants the UI to look, kept in the browser; nothing of it is data. */
export type Theme = "system" | "light" | "dark";
export type Language = "en" | "ru";
export type Zone = "utc" | "local";
/** Digits in groups as the language has them, or none: 1,234,567 or 1234567. */
export type Numbers = "groups" | "plain";

interface Preferences {
  theme: Theme;
  language: Language;
  zone: Zone;
  numbers: Numbers;
  /** Whether single keys do something (WCAG 2.1.4). */
  keys: boolean;
}

const KEY = "streamforge.preferences";

function first(): Preferences {
  const language: Language = navigator.language.startsWith("ru") ? "ru" : "en";
  const found: Preferences = { theme: "system", language, zone: "utc", numbers: "groups", keys: true };
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Preferences>;
    if (["system", "light", "dark"].includes(kept.theme ?? "")) found.theme = kept.theme as Theme;
    if (["en", "ru"].includes(kept.language ?? "")) found.language = kept.language as Language;
    if (["utc", "local"].includes(kept.zone ?? "")) found.zone = kept.zone as Zone;
    if (["groups", "plain"].includes(kept.numbers ?? "")) found.numbers = kept.numbers as Numbers;
    if (typeof kept.keys === "boolean") found.keys = kept.keys;
  } catch {
    // What is kept is no JSON, or nothing can be kept here: the defaults do.
  }
  return found;
}

export const preferences = $state(first());

/** Keep the preferences, and show the theme; to be called in an effect. */
export function applyPreferences(): void {
  const { theme } = preferences;
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem(KEY, JSON.stringify(preferences));
  } catch {
    // A browser that keeps nothing shows them until the tab is closed.
  }
}
