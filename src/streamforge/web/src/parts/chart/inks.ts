/** Colours as a canvas can use them, by what the style sheet would say: `var(--bad)`. */
export type Inks = Partial<Record<string, string>>;

const FORCED = "(forced-colors: active)";
const SYSTEM: Inks = { "var(--ground)": "Canvas", "var(--line)": "GrayText" };

/** What the colours are now at `host`; where a person's own are forced, two of those. */
export function inksOf(host: HTMLElement, colors: Iterable<string>): Inks {
  const probe = document.createElement("i");
  probe.hidden = true;
  host.append(probe);
  probe.style.setProperty("forced-color-adjust", "none");
  const forced = matchMedia(FORCED).matches;
  const found: Inks = {};
  for (const color of colors) {
    probe.style.color = forced ? (SYSTEM[color] ?? "CanvasText") : color;
    found[color] = getComputedStyle(probe).color;
  }
  probe.remove();
  return found;
}

/** Call when the colours may have changed otherwise than by the theme that a person chose; returns how to end that. */
export function onInks(changed: () => void): () => void {
  const asked = ["(prefers-color-scheme: dark)", FORCED].map((query) => matchMedia(query));
  for (const one of asked) one.addEventListener("change", changed);
  return () => {
    for (const one of asked) one.removeEventListener("change", changed);
  };
}
