/** The values of what the server notes, as they stand in a text. */
import type { Values } from "../words/filling.ts";

export interface Formats {
  bytes: (value: number) => string;
  duration: (seconds: number) => string;
  instant: (ms: number) => string;
  range: (startMs: number, endMs: number) => string;
}

/** Each in the unit that its name ends with; `range`: from `start_ms` to `end_ms`. */
export function noteValues(values: Values, formats: Formats): Values {
  const shown = Object.entries(values).map(([name, value]) => [name, valueShown(name, value, formats)]);
  const { start_ms, end_ms } = values;
  const ranged = typeof start_ms === "number" && typeof end_ms === "number";
  return { ...Object.fromEntries(shown), ...(ranged ? { range: formats.range(start_ms, end_ms) } : {}) };
}

function valueShown(name: string, value: string | number, { bytes, duration, instant }: Formats): string | number {
  if (typeof value !== "number") return value;
  if (name.endsWith("_bytes")) return bytes(value);
  if (name.endsWith("_ms")) return instant(value);
  return name.endsWith("_s") ? duration(value) : value;
}
