/** The English catalogue, a part for each screen. `{name}` is replaced; an entry with forms is chosen by the number `n`. */
import { en as series } from "./series.ts";
import { en as shell } from "./shell.ts";
import { en as workflows } from "./workflows.ts";

export const en = {
  ...shell,
  ...workflows,
  ...series,
};
