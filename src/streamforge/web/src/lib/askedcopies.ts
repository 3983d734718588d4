/** A request of a form for other tools. None of these texts holds a token. */
import type { Body } from "./asking.ts";
import { quoted } from "./copies.ts";

export interface AskedCopies {
  /** Null: the command line has no option for what `beyond` names. */
  cli: string | null;
  beyond: string[];
  curl: string;
  python: string;
}

const LOAD = ["symbol", "symbols", "type", "time_range"];
const SCHEDULE = ["name", "symbols", "type"];
const OPTIONS: Record<string, string> = {
  since: "--since",
  from: "--from",
  again: "--again",
  listed_at: "--listed-at",
  skip_unknown: "--skip-unknown",
  source: "--source",
  labels: "--label",
  cron: "--cron",
  timezone: "--timezone",
  missed: "--missed",
};

/** path: where the body is sent to; server: `http://HOST:PORT`. */
export function copiesOfAsked(path: string, body: Body, server: string): AskedCopies {
  const json = JSON.stringify(body);
  const schedule = path === "/schedules";
  const positional = schedule ? SCHEDULE : LOAD;
  const options = schedule ? { ...OPTIONS, time_range: "--range" } : OPTIONS;
  const beyond = Object.keys(body).filter((name) => !positional.includes(name) && !(name in options));
  const words = positional.filter((name) => name in body).map((name) => String(body[name]));
  const given = Object.entries(body).flatMap(([name, value]) =>
    name in options && !positional.includes(name)
      ? optionOf(options[name as keyof typeof options] as string, value)
      : [],
  );
  const command = [
    "streamforge",
    ...(schedule ? ["schedule", "add"] : ["load"]),
    ...words,
    ...given,
    "--server",
    server,
  ];
  return {
    cli: beyond.length > 0 ? null : command.map(quoted).join(" "),
    beyond,
    curl:
      `curl -X POST -H "Authorization: Bearer $STREAMFORGE_TOKEN" -H "Content-Type: application/json" ` +
      `-d ${quoted(json)} ${server}${path}`,
    python: pythonOf(path, body, json, server),
  };
}

function optionOf(option: string, value: Body[string]): string[] {
  if (value === true) return [option];
  if (value === false || value === null) return [];
  if (typeof value !== "object") return [option, String(value)];
  return Object.entries(value).flatMap(([name, one]) => [option, `${name}:${one}`]);
}

/** With our own package where that has arguments for all of it, else with Python alone. */
function pythonOf(path: string, body: Body, json: string, server: string): string {
  const { symbol, type, time_range, again, ...more } = body;
  if (path === "/queues/start" && time_range !== undefined && Object.keys(more).length === 0) {
    const words = [symbol, type, time_range].map((one) => JSON.stringify(one)).join(", ");
    return `streamforge.load(${words}, ${again === true ? "again=True, " : ""}server=${JSON.stringify(server)})`;
  }
  return `import os, urllib.request
urllib.request.urlopen(urllib.request.Request(
    ${JSON.stringify(server + path)},
    ${JSON.stringify(json)}.encode(),
    {"Content-Type": "application/json", "Authorization": "Bearer " + os.environ.get("STREAMFORGE_TOKEN", "")},
))`;
}
