/** What an action has led to: shown for a while, and read out by screen readers. */
const SHOWN_MS = 8000;

export const said = $state({ text: "" });

let timer: ReturnType<typeof setTimeout> | undefined;

export function say(text: string): void {
  clearTimeout(timer);
  said.text = text;
  timer = setTimeout(() => {
    said.text = "";
  }, SHOWN_MS);
}
