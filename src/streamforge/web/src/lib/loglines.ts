/** The lines of a log as a person reads them. */
import { visible } from "./letters.ts";

/** Lines one after the other. bad: they tell of an error, or a warning. trace: a traceback, which is unfolded on demand. */
export interface LogPart {
  text: string;
  bad: boolean;
  trace: string;
}

const BAD = ["warn", "warning", "error", "critical", "fatal"];
/** What our workers call the time, the level and the message, and what others do. */
const TIMES = ["timestamp", "time", "ts", "@timestamp"];
const LEVELS = ["level", "severity", "levelname"];
const EVENTS = ["event", "message", "msg"];
/** A smaller number of an instant is in seconds: as milliseconds it would be before 1973. */
const SECONDS_BELOW = 1e11;
/** Below which a line has its traceback. */
const TRACES = ["exception", "stack"];

/** Time, level, message, then the other fields as `key=value`. What is no such line stays as it is. */
export function logParts(text: string, instant: (ms: number) => string): LogPart[] {
  const found: LogPart[] = [];
  for (const line of text.split(/(?<=\n)/)) {
    const part = partOf(line, instant);
    const last = found.at(-1);
    if (last !== undefined && last.bad === part.bad && last.trace === "") {
      last.text += part.text;
      last.trace = part.trace;
    } else found.push(part);
  }
  return found;
}

function partOf(line: string, instant: (ms: number) => string): LogPart {
  const fields = fieldsOf(line);
  const named = (names: readonly string[]) => names.find((name) => typeof fields[name] === "string");
  const event = named(EVENTS);
  if (event === undefined) return { text: visible(line), bad: false, trace: "" };
  const level = named(LEVELS);
  const time = TIMES.find((name) => msOf(fields[name]) !== null);
  const ms = time === undefined ? null : msOf(fields[time]);
  const traces = TRACES.filter((name) => typeof fields[name] === "string");
  const apart = new Set([event, level, time, ...traces]);
  const told = [
    ms === null ? "" : `${instant(ms)}.${String(Math.floor(ms) % 1000).padStart(3, "0")}`,
    level === undefined ? "" : onOneLine(String(fields[level])).padEnd(7),
    onOneLine(String(fields[event])),
    ...Object.entries(fields)
      .filter(([name]) => !apart.has(name))
      .map(([name, one]) => `${onOneLine(name)}=${shownAs(one)}`),
  ];
  return {
    text: `${visible(told.filter((one) => one !== "").join(" "))}\n`,
    bad: level !== undefined && BAD.includes(String(fields[level]).toLowerCase()),
    trace: visible(traces.map((name) => fields[name]).join("\n")),
  };
}

/** Unix milliseconds of an instant as text, or of unix seconds or milliseconds; null: it is no instant. */
function msOf(value: unknown): number | null {
  if (typeof value === "number") return value < SECONDS_BELOW ? value * 1000 : value;
  const ms = typeof value === "string" ? Date.parse(value) : Number.NaN;
  return Number.isNaN(ms) ? null : ms;
}

function fieldsOf(line: string): Record<string, unknown> {
  if (!line.startsWith("{")) return {};
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return {};
  }
}

function onOneLine(text: string): string {
  return /[\r\n]/.test(text) ? JSON.stringify(text) : text;
}

/** As it is where that is one word; else as JSON, so that it is seen where it ends. */
function shownAs(value: unknown): string {
  return typeof value === "string" && /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);
}
