/** The lines of a log as a person reads them. */
import { visible } from "./letters.ts";

/** Lines one after the other. bad: they tell of an error, or a warning. trace: a traceback, which is unfolded on demand. */
export interface LogPart {
  text: string;
  bad: boolean;
  trace: string;
}

const BAD = ["warning", "error", "critical"];
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
  const { timestamp, level, event, ...more } = fields ?? {};
  const ms = typeof timestamp === "string" ? Date.parse(timestamp) : Number.NaN;
  if (Number.isNaN(ms) || typeof level !== "string" || typeof event !== "string") {
    return { text: visible(line), bad: false, trace: "" };
  }
  const traces = TRACES.map((name) => more[name]).filter((one) => typeof one === "string");
  const values = Object.entries(more).filter(([name, one]) => !(TRACES.includes(name) && typeof one === "string"));
  const time = `${instant(ms)}.${String(ms % 1000).padStart(3, "0")}`;
  const told = [
    time,
    level.padEnd(7),
    onOneLine(event),
    ...values.map(([name, one]) => `${onOneLine(name)}=${shownAs(one)}`),
  ];
  return { text: `${visible(told.join(" "))}\n`, bad: BAD.includes(level), trace: visible(traces.join("\n")) };
}

function fieldsOf(line: string): Record<string, unknown> | null {
  if (!line.startsWith("{")) return null;
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return null;
  }
}

function onOneLine(text: string): string {
  return /[\r\n]/.test(text) ? JSON.stringify(text) : text;
}

/** As it is where that is one word; else as JSON, so that it is seen where it ends. */
function shownAs(value: unknown): string {
  return typeof value === "string" && /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);
}
