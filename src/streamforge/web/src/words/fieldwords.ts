/** Texts about the fields of a form. */
import type { FieldError } from "../api/types";
import type { Complaint } from "../lib/schema";
import { en } from "./en";
import { t, type Word } from "./words.svelte";

/** The name of a field; one that the catalogue does not know is shown as the API writes it. */
export function fieldWord(name: string): string {
  const word = `field.${name}`;
  return word in en ? t(word as Word) : name.replace(/^parameters\.[^.]+\./, "");
}

export function complaintWord({ rule, limit }: Complaint): string {
  const word = `bad.${rule}`;
  return t(word in en ? (word as Word) : "bad.json", { limit });
}

/** What is wrong with a field: what the form found, and what the server said. */
export function wrongWords(complaint: Complaint | undefined, said: readonly FieldError[] | undefined): string[] {
  const found = (said ?? []).map((one) => one.message);
  return [...new Set(complaint === undefined ? found : [complaintWord(complaint), ...found])];
}
