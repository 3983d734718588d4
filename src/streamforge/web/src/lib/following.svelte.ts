/** How a live workflow does now, second by second; it stands still while updates are paused. */
import { untrack } from "svelte";
import type { Summary } from "../api/types";
import { clock } from "./clock.svelte";
import { type LiveNow, liveAt } from "./livestate";
import { updates } from "./updates.svelte";

/** of: what was told of it last. */
export function following(of: () => Pick<Summary, "live" | "undriven">): { readonly now: LiveNow | null } {
  const heardMs = $derived(momentOf(of().live));
  const now = $derived(liveAt(of(), heardMs, updates.nowMs));
  return {
    get now() {
      return now;
    },
  };
}

/** When it came, which is now. */
function momentOf(_: unknown): number {
  return untrack(() => clock.exact);
}
