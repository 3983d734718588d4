/** Time ranges as people write them and the API takes them: `START[:END]`, half-open, UTC; relative ones by the clock. */
export interface Span {
  startMs: number;
  endMs: number;
}

const POINT = String.raw`\d{4}(?:-\d\d(?:-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d{3})?)?Z)?)?)?`;
const LENGTH = String.raw`\d{1,9}[A-Za-z]{1,7}`;
const WORD = `now|today|yesterday|-${LENGTH}`;
const RANGE = new RegExp(String.raw`^(${POINT}|${WORD})(?:(:)(${POINT}|${WORD}|\+${LENGTH})?)?$`);
const DAY_MS = 86_400_000;
const LAST_MS = Date.UTC(10_000, 0, 1);
const MS: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: DAY_MS, w: 7 * DAY_MS };
const MONTHS: Record<string, number> = { M: 1, y: 12 };
const WORDS = { sec: "s", second: "s", minute: "m", hour: "h", day: "d", week: "w", month: "M", year: "y" };
const NAMES: Record<string, string> = { min: "m", mo: "M" };
for (const [word, unit] of Object.entries(WORDS)) NAMES[word] = NAMES[`${word}s`] = unit;

/** The range that the words mean at the instant; null: the server would not take them. */
export function resolved(text: string, nowMs: number): Span | null {
  const found = RANGE.exec(text);
  if (found === null) return null;
  const [, first = "", colon, second] = found;
  if (first === "now" && colon === undefined) return null;
  const now = Math.floor(nowMs / 1000) * 1000;
  let startMs = point(first, now);
  if (startMs === null) return null;
  if (colon === undefined && first.includes("T")) startMs -= startMs % DAY_MS; // an instant alone is its day
  const relative = [first, second ?? (colon === undefined ? "0000" : "")].some((one) => !/^\d/.test(one));
  if (relative && startMs >= now) return null;
  const endMs =
    colon === undefined ? alone(first, startMs, now) : second === undefined ? now : end(second, startMs, now);
  return endMs === null || endMs <= startMs ? null : { startMs, endMs };
}

function end(word: string, startMs: number, now: number): number | null {
  return word.startsWith("+") ? shifted(startMs, word.slice(1), 1) : point(word, now);
}

/** The end of a range that is written as one point. */
function alone(first: string, startMs: number, now: number): number | null {
  if (first === "yesterday") return startMs + DAY_MS;
  if (!/^\d/.test(first)) return now;
  const at = new Date(startMs);
  const day = Math.floor(startMs / DAY_MS) * DAY_MS + DAY_MS;
  const endMs =
    first.length === 4
      ? Date.UTC(at.getUTCFullYear() + 1, 0)
      : first.length === 7
        ? Date.UTC(at.getUTCFullYear(), at.getUTCMonth() + 1)
        : day;
  return endMs < LAST_MS ? endMs : null;
}

function point(word: string, now: number): number | null {
  if (word === "now") return now;
  if (word.startsWith("-")) return shifted(now, word.slice(1), -1);
  const today = Math.floor(now / DAY_MS) * DAY_MS;
  if (word === "today") return today;
  if (word === "yesterday") return today - DAY_MS;
  const ms = Date.parse(word.length === 4 ? `${word}-01-01` : word);
  // 2024-02-31 is taken for a day of March by some engines: what is read must be what is written.
  const there = Number.isFinite(ms) && new Date(ms).toISOString().startsWith(word.slice(0, 10));
  return there && ms >= 0 ? ms : null;
}

/** So long after the instant, or before it (sign -1); a month's day is at most its last one. */
function shifted(ms: number, length: string, sign: 1 | -1): number | null {
  const count = sign * Number.parseInt(length, 10);
  const word = length.replace(/^\d+/, "");
  const unit = unitOf(word);
  let found: number;
  if (MS[unit] !== undefined) found = ms + count * MS[unit];
  else if (MONTHS[unit] !== undefined) {
    const at = new Date(ms);
    const month = at.getUTCMonth() + count * MONTHS[unit];
    const last = new Date(Date.UTC(at.getUTCFullYear(), month + 1, 0)).getUTCDate();
    found = Date.UTC(at.getUTCFullYear(), month, Math.min(at.getUTCDate(), last)) + (ms % DAY_MS);
  } else return null;
  return found >= 0 && found < LAST_MS ? found : null;
}

/** `m` is a minute and `M` a month; other letters and whole words may have any case. */
function unitOf(word: string): string {
  if (word in MS || word in MONTHS) return word;
  return NAMES[word.toLowerCase()] ?? { Y: "y", H: "h", D: "d", W: "w" }[word] ?? "";
}
