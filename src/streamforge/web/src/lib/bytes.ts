import type { Language } from "./preferences.svelte";

const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"] as const;

/** A number of bytes in decimal units, with three digits: 999 B, 1.5 kB, 64.2 GB. */
export function bytes(value: number, language: Language): string {
  let size = value;
  let at = 0;
  while (size >= 999.5 && at < UNITS.length - 1) {
    size /= 1000;
    at += 1;
  }
  const text = new Intl.NumberFormat(language, {
    style: "unit",
    unit: UNITS[at] as string,
    unitDisplay: "short",
    maximumSignificantDigits: size >= 1000 ? 6 : 3,
  }).format(size);
  return text.replace(/ byte$/, " B");
}
