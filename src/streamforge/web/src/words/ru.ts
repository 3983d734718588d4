/** The Russian catalogue. */
import { ru as letters } from "./letters.ts";
import { ru as shell } from "./shell.ts";
import { ru as topics } from "./topics.ts";
import { ru as workflows } from "./workflows.ts";

export const ru = {
  ...shell,
  ...workflows,
  ...letters,
  ...topics,
};
