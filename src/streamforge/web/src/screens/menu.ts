/** The screens of the menu, in its order: where each is, its name, and the key after `g` that leads there. */
import type { Word } from "../words/words.svelte";

export interface Entry {
  path: string;
  word: Word;
  key: string;
}

export const MENU: readonly Entry[] = [
  { path: "/workflows", word: "nav.workflows", key: "w" },
  { path: "/series", word: "nav.series", key: "s" },
  { path: "/coverage", word: "nav.coverage", key: "c" },
  { path: "/graphs", word: "nav.graphs", key: "r" },
  { path: "/models", word: "nav.models", key: "m" },
  { path: "/start", word: "nav.start", key: "n" },
  { path: "/schedules", word: "nav.schedules", key: "e" },
  { path: "/dead-letters", word: "nav.letters", key: "d" },
  { path: "/topics", word: "nav.topics", key: "t" },
  { path: "/settings", word: "nav.settings", key: "h" },
];
