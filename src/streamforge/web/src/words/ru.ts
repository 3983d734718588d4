/** The Russian catalogue. */
import { ru as live } from "./live.ts";
import { ru as shell } from "./shell.ts";
import { ru as workflows } from "./workflows.ts";

export const ru = {
  ...shell,
  ...workflows,
  ...live,
};
