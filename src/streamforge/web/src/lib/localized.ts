/** Numbers, instants, ranges and durations in the language and the time zone of the preferences. */
import * as format from "./format";
import { preferences } from "./preferences.svelte";

export const count = (value: number): string => format.count(value, preferences.language);
export const rate = (value: number): string => format.rate(value, preferences.language);
export const percent = (share: number): string => format.percent(share, preferences.language);
export const duration = (seconds: number): string => format.duration(seconds, preferences.language);
export const instant = (ms: number): string => format.instant(ms, preferences.zone);
export const range = (startMs: number, endMs: number): string => format.range(startMs, endMs, preferences.zone);
