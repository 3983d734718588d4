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
];
