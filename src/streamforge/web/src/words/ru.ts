/** The Russian catalogue. */
import { ru as series } from "./series.ts";
import { ru as shell } from "./shell.ts";
import { ru as workflows } from "./workflows.ts";

export const ru = {
  ...shell,
  ...workflows,
  ...series,
};
