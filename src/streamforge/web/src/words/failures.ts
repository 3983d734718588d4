/** Why something was not done, in words. */
import { Refused } from "../api/client";
import { wordFor } from "./codes.svelte";
import { t } from "./words.svelte";

/** What the server says with what to do next, or that it does not answer. */
export function failedWord(error: Error): string {
  if (!(error instanceof Refused)) return t("error.unreachable");
  const { code, detail, next_step } = error.problem;
  return [wordFor("problem", code), `${detail} — ${next_step}`].filter((part) => part !== null).join(" ");
}
