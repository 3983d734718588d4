/** The English catalogue, a part for each screen. `{name}` is replaced; an entry with forms is chosen by the number `n`. */
import { en as letters } from "./letters.ts";
import { en as shell } from "./shell.ts";
import { en as topics } from "./topics.ts";
import { en as workflows } from "./workflows.ts";

export const en = {
  ...shell,
  ...workflows,
  ...letters,
  ...topics,
};
