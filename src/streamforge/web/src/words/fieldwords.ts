/** Texts about the fields of a form. */
import type { FieldError } from "../api/types";
import type { Complaint } from "../lib/schema";
import { wordFor } from "./codes.svelte";
import { isWord, t } from "./words.svelte";

/** The name of a field; one that the catalogue does not know is shown as the API writes it. */
export function fieldWord(name: string): string {
  return catalogued("field", name) ?? bare(name);
}

/** What a field is for; null: the catalogue does not know it. */
export function hintWord(name: string): string | null {
  return catalogued("hint", name);
}

/** What the target of a section of parameters does; null: it is not one of ours. */
export function targetWord(target: string): string | null {
  return wordFor("target", target);
}

/** A value that a field offers. */
export function choiceWord(value: string): string {
  return wordFor("choice", value) ?? value;
}

function bare(name: string): string {
  return name.replace(/^parameters\.[^.]+\./, "");
}

/** Of `parameters.TARGET.NAME` by both, or by the name; another's target may mean something else by it. */
function catalogued(prefix: string, name: string): string | null {
  const [, target] = /^parameters\.([^.]+)\./.exec(name) ?? [];
  if (target === undefined) return wordFor(prefix, name);
  if (targetWord(target) === null) return null;
  return wordFor(prefix, `${target}.${bare(name)}`) ?? wordFor(prefix, bare(name));
}

export function complaintWord({ rule, limit }: Complaint): string {
  const word = `bad.${rule}`;
  return t(isWord(word) ? word : "bad.json", { limit });
}

/** What is wrong with a field: what the form found, and what the server said. */
export function wrongWords(complaint: Complaint | undefined, said: readonly FieldError[] | undefined): string[] {
  const found = (said ?? []).map((one) => one.message);
  return [...new Set(complaint === undefined ? found : [complaintWord(complaint), ...found])];
}
