/** A row of the list of workflows, of which the progress alone can change in place. */
import type { Summary } from "../api/types";

export function rowOf(one: Summary): Summary {
  let progress = $state.raw(one.progress);
  return {
    ...one,
    get progress() {
      return progress;
    },
    set progress(now) {
      progress = now;
    },
  };
}
