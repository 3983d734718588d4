import { t } from "../words/words.svelte";
import { announce } from "./announcement.svelte";

/** Copy the text, and say that it is copied, or why not. */
export async function copy(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    announce(t("act.copied"));
  } catch {
    announce(t("act.copied.not"));
  }
}
