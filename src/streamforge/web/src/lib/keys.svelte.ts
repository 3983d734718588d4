/**
 * Keys without a modifier: `/` search, `j` and `k` rows, `x` chooses one, `g` and a letter a screen, `p` pauses updates,
 * `?` help, `Esc` away.
 */
import { MENU } from "../screens/menu";
import { go, href } from "./address.svelte";
import { feed } from "./feed.svelte";
import { signOf } from "./keysigns";
import { preferences } from "./preferences.svelte";
import { updates } from "./updates.svelte";

const CHORD_MS = 1500;

export const help = $state({ open: false });

let chord = 0;

/** Handle a key, unless a person is writing or has switched keys off. */
export function onKey(event: KeyboardEvent): void {
  const target = event.target as HTMLElement;
  if (event.key === "Escape") {
    if (isField(target)) target.blur();
    return;
  }
  if (!preferences.keys || event.ctrlKey || event.metaKey || event.altKey || isField(target)) return;
  if (document.querySelector("dialog[open]")) return;
  if (act(signOf(event), event.timeStamp)) event.preventDefault();
}

function act(key: string, at: number): boolean {
  const screen = MENU.find((one) => one.key === key);
  if (screen !== undefined && at - chord < CHORD_MS) {
    chord = 0;
    go(href(screen.path));
    return true;
  }
  chord = key === "g" ? at : 0;
  if (key === "/") {
    const field = document.querySelector<HTMLInputElement>("input[type=search]");
    field?.focus();
    field?.select();
    return field !== null;
  }
  if (key === "?") help.open = true;
  else if (key === "p") updates.toggle(feed.live);
  else if (key === "j" || key === "k") return step(key === "j" ? 1 : -1);
  else if (key === "x") return choose();
  else return false;
  return true;
}

/** Move the focus to the next row, or to the one before. */
function step(by: number): boolean {
  const rows = [...document.querySelectorAll<HTMLElement>("[data-row]")];
  if (rows.length === 0) return false;
  const at = rows.findIndex((row) => (row.closest("tr") ?? row).contains(document.activeElement));
  const next = at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by));
  rows[next]?.focus();
  return true;
}

/** Choose the row that has the focus, or choose it no more. */
function choose(): boolean {
  const box = document.activeElement?.closest("tr")?.querySelector<HTMLElement>("input[type=checkbox]");
  box?.click();
  return box !== null && box !== undefined;
}

function isField(element: HTMLElement): boolean {
  return element.matches?.("input:not([type=checkbox], [type=range]), textarea, select, [contenteditable]") ?? false;
}
