/** What an action has led to: shown for a while, and read out by screen readers. */
const SHOWN_MS = 8000;

export const announcement = $state({ text: "" });

let timer: ReturnType<typeof setTimeout> | undefined;

export function announce(text: string): void {
  clearTimeout(timer);
  announcement.text = text;
  timer = setTimeout(() => {
    announcement.text = "";
  }, SHOWN_MS);
}
