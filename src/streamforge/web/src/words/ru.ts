/** The Russian catalogue. */
import { ru as codes } from "./codes.ts";
import { ru as coverage } from "./coverage.ts";
import { ru as fields } from "./fields.ts";
import { ru as letters } from "./letters.ts";
import { ru as schedules } from "./schedules.ts";
import { ru as series } from "./series.ts";
import { ru as settings } from "./settings.ts";
import { ru as shell } from "./shell.ts";
import { ru as start } from "./start.ts";
import { ru as topics } from "./topics.ts";
import { ru as workflowparts } from "./workflowparts.ts";
import { ru as workflows } from "./workflows.ts";

export const ru = {
  ...shell,
  ...workflows,
  ...workflowparts,
  ...series,
  ...coverage,
  ...start,
  ...schedules,
  ...letters,
  ...topics,
  ...settings,
  ...codes,
  ...fields,
};
