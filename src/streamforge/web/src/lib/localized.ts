/** Numbers, instants, ranges and durations in the language and the time zone of the preferences. */
import * as sizes from "./bytes";
import * as format from "./format";
import { preferences } from "./preferences.svelte";

const groups = (): boolean => preferences.numbers === "groups";

export const count = (value: number): string => format.count(value, preferences.language, groups());
export const rate = (value: number): string => format.rate(value, preferences.language, groups());
export const bytes = (value: number): string => sizes.bytes(value, preferences.language);
export const signed = (value: number | null, digits: number): string =>
  format.signed(value, digits, preferences.language);
export const fixed = (value: number | null, digits: number): string =>
  format.fixed(value, digits, preferences.language);
export const percent = (share: number): string => format.percent(share, preferences.language);
export const duration = (seconds: number): string => format.duration(seconds, preferences.language);
export const instant = (ms: number): string => format.instant(ms, preferences.zone);
export const range = (startMs: number, endMs: number): string => format.range(startMs, endMs, preferences.zone);
