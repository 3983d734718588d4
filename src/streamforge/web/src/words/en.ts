/** The English catalogue, a part for each screen. `{name}` is replaced; an entry with forms is chosen by the number `n`. */
import { en as codes } from "./en/codes.ts";
import { en as coverage } from "./en/coverage.ts";
import { en as fields } from "./en/fields.ts";
import { en as graphs } from "./en/graphs.ts";
import { en as letters } from "./en/letters.ts";
import { en as live } from "./en/live.ts";
import { en as models } from "./en/models.ts";
import { en as schedules } from "./en/schedules.ts";
import { en as series } from "./en/series.ts";
import { en as settings } from "./en/settings.ts";
import { en as shell } from "./en/shell.ts";
import { en as start } from "./en/start.ts";
import { en as topics } from "./en/topics.ts";
import { en as workflowparts } from "./en/workflowparts.ts";
import { en as workflows } from "./en/workflows.ts";

export const en = {
  ...shell,
  ...workflows,
  ...workflowparts,
  ...live,
  ...series,
  ...coverage,
  ...graphs,
  ...models,
  ...start,
  ...schedules,
  ...letters,
  ...topics,
  ...settings,
  ...codes,
  ...fields,
};
