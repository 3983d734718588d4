/** The English catalogue, a part for each screen. `{name}` is replaced; an entry with forms is chosen by the number `n`. */
import { en as codes } from "./codes.ts";
import { en as coverage } from "./coverage.ts";
import { en as fields } from "./fields.ts";
import { en as letters } from "./letters.ts";
import { en as schedules } from "./schedules.ts";
import { en as series } from "./series.ts";
import { en as settings } from "./settings.ts";
import { en as shell } from "./shell.ts";
import { en as start } from "./start.ts";
import { en as topics } from "./topics.ts";
import { en as workflowparts } from "./workflowparts.ts";
import { en as workflows } from "./workflows.ts";

export const en = {
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
