/** The Russian catalogue. */
import { ru as codes } from "./ru/codes.ts";
import { ru as coverage } from "./ru/coverage.ts";
import { ru as fields } from "./ru/fields.ts";
import { ru as graphs } from "./ru/graphs.ts";
import { ru as letters } from "./ru/letters.ts";
import { ru as live } from "./ru/live.ts";
import { ru as models } from "./ru/models.ts";
import { ru as schedules } from "./ru/schedules.ts";
import { ru as series } from "./ru/series.ts";
import { ru as settings } from "./ru/settings.ts";
import { ru as shell } from "./ru/shell.ts";
import { ru as start } from "./ru/start.ts";
import { ru as topics } from "./ru/topics.ts";
import { ru as workflowparts } from "./ru/workflowparts.ts";
import { ru as workflows } from "./ru/workflows.ts";

export const ru = {
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
