/** Numbers, instants, ranges and durations as text. */
import { numberFormat } from "./intl.ts";
import type { Language, Zone } from "./preferences.svelte";

const DAY_S = 86_400;
const UNITS = [
  ["day", DAY_S],
  ["hour", 3600],
  ["minute", 60],
  ["second", 1],
] as const;

/** useGrouping: digits in groups, as the language has them. */
export function count(value: number, language: Language, useGrouping = true): string {
  return numberFormat(language, { maximumFractionDigits: 0, useGrouping }).format(value);
}

/** A number with three significant digits where it is small: 0.25, 14.3, 1,440. */
export function rate(value: number, language: Language, useGrouping = true): string {
  const digits = value >= 100 ? { maximumFractionDigits: 0 } : { maximumSignificantDigits: 3 };
  return numberFormat(language, { ...digits, useGrouping }).format(value);
}

/** A number with its sign, of so many digits: −0.0012. JSON has null for what is no number. */
export function signed(value: number | null, digits: number, language: Language): string {
  if (value === null || !Number.isFinite(value)) return "–";
  const size = Number(Math.abs(value).toFixed(digits));
  const text = numberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(size);
  return size === 0 ? text : `${value < 0 ? "−" : "+"}${text}`;
}

/** Without a plus. */
export function fixed(value: number | null, digits: number, language: Language): string {
  return signed(value, digits, language).replace("+", "");
}

/** 0 to 1 as per cent, and never 100 % before it is whole. */
export function percent(share: number, language: Language): string {
  const floored = Math.floor(Math.min(1, Math.max(0, share)) * 1000) / 1000;
  return numberFormat(language, { style: "percent", maximumFractionDigits: 1 }).format(floored);
}

/** The two largest units: `2 hr 5 min`. */
export function duration(seconds: number, language: Language): string {
  let left = Math.max(0, Math.round(seconds));
  const parts: string[] = [];
  for (const [unit, size] of UNITS) {
    const many = Math.floor(left / size);
    if (many === 0 && (unit !== "second" || parts.length > 0)) {
      if (parts.length > 0) break;
      continue;
    }
    left -= many * size;
    parts.push(numberFormat(language, { style: "unit", unit, unitDisplay: "short" }).format(many));
    if (parts.length === 2) break;
  }
  return parts.join(" ");
}

function two(value: number): string {
  return String(value).padStart(2, "0");
}

/** `2024-08-01 12:30:05`; the screen says once which zone it is. */
export function instant(ms: number, zone: Zone): string {
  const at = zone === "utc" ? new Date(ms) : new Date(ms - new Date(ms).getTimezoneOffset() * 60_000);
  const year = String(at.getUTCFullYear()).padStart(4, "0");
  const date = `${year}-${two(at.getUTCMonth() + 1)}-${two(at.getUTCDate())}`;
  return `${date} ${two(at.getUTCHours())}:${two(at.getUTCMinutes())}:${two(at.getUTCSeconds())}`;
}

/** A half-open range, `[2024-08-01, 2024-08-02)`: dates alone where both are whole days of the zone. */
export function range(startMs: number, endMs: number, zone: Zone): string {
  const texts = [instant(startMs, zone), instant(endMs, zone)];
  const days = texts.every((text) => text.endsWith(" 00:00:00"));
  const short = texts.map((text) => (days ? text.slice(0, 10) : text.replace(/:00$/, "")));
  return `[${short[0]}, ${short[1]})`;
}

/** The instant, or the half-open range, as ISO 8601 in UTC; nothing for one that no calendar has. */
export function iso(...instants: readonly number[]): string | undefined {
  const dates = instants.map((ms) => new Date(ms));
  if (dates.some((one) => Number.isNaN(one.getTime()))) return undefined;
  const texts = dates.map((one) => one.toISOString());
  return texts.length > 1 ? `[${texts.join(", ")})` : texts[0];
}

/** `+03:00`: how far this machine's zone is ahead of UTC at the instant. */
export function offset(ms: number): string {
  const minutes = -new Date(ms).getTimezoneOffset();
  const whole = Math.abs(minutes);
  return `${minutes < 0 ? "−" : "+"}${two(Math.floor(whole / 60))}:${two(whole % 60)}`;
}

/** A number of the API as the decimal that it is, without an exponent: 0.00000123. */
export function decimal(value: number): string {
  const [digits = "", exponent] = String(Math.abs(value)).split("e");
  const sign = value < 0 ? "-" : "";
  if (exponent === undefined) return sign + digits;
  const [whole = "", part = ""] = digits.split(".");
  const moved = Number(exponent);
  if (moved < 0) return `${sign}0.${"0".repeat(-moved - 1)}${whole}${part}`;
  return sign + whole + part.padEnd(moved, "0");
}
