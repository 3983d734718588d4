/** What a dead letter holds, as text that shows all of it: nothing in it can hide, or turn others around. */
import type { Letter } from "../api/bus";

/** So many bytes of each value are asked for. */
export const VALUE_BYTES = 4096;
/** So many letters one replay can choose. */
export const MOST_CHOSEN = 400;

const INDENTS_KEPT = 12;
const PREVIEW = 120;
const HEX_WIDTH = 16;
// Control characters but line feed and tab, marks of direction, and what has no width.
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must be seen
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

export interface Shown {
  form: "json" | "text" | "hex" | "empty";
  text: string;
}

export function visible(text: string): string {
  return text.replace(UNSEEN, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** The value, as far as the server has sent it. */
export function shown(letter: Letter): Shown {
  if (letter.size === 0) return { form: "empty", text: "" };
  if (letter.encoding === "base64") return { form: "hex", text: hexOf(bytesOf(letter.value)) };
  if (!letter.cut && isObject(letter.value)) return { form: "json", text: visible(indented(letter.value)) };
  return { form: "text", text: visible(letter.value) };
}

/** The beginning of the value, on one line. */
export function preview(letter: Letter): string {
  if (letter.encoding === "base64") return hexes(bytesOf(letter.value).slice(0, PREVIEW / 3));
  const line = visible(letter.value.slice(0, PREVIEW)).replace(/\s+/g, " ");
  return letter.size > PREVIEW ? `${line}…` : line;
}

/** The key as text, or in hexadecimal; null: it has none. */
export function keyOf(letter: Letter): string | null {
  if (letter.key === null) return null;
  return letter.encoding === "base64" ? hexes(bytesOf(letter.key).slice(0, 256)) : visible(letter.key.slice(0, 256));
}

/** What names a letter. */
export function placeOf(letter: Letter): string {
  return `${letter.topic}:${letter.partition}:${letter.offset}`;
}

/** Each with a key of its own: a record that two sinks have refused is two letters of one place. */
export function keyed(letters: readonly Letter[]): { key: string; letter: Letter }[] {
  const times = new Map<string, number>();
  return letters.map((letter) => {
    const place = placeOf(letter);
    const time = (times.get(place) ?? 0) + 1;
    times.set(place, time);
    return { key: `${place} ${time}`, letter };
  });
}

/** JSON with line breaks: no character of it is changed, so that no digit of a number is. It is JSON already. */
export function indented(json: string): string {
  const parts: string[] = [];
  let depth = 0;
  const line = (): string => `\n${"  ".repeat(Math.min(depth, INDENTS_KEPT))}`;
  for (const [token] of json.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s"{}[\],:]+/g)) {
    if (token === "}" || token === "]") {
      depth -= 1;
      const opened = parts.at(-1) as string;
      parts.push(opened.startsWith("{") || opened.startsWith("[") ? token : line() + token);
    } else {
      if (/^[{[]/.test(parts.at(-1) ?? "")) parts.push(line());
      parts.push(token === "," ? `,${line()}` : token === ":" ? ": " : token);
      if (token === "{" || token === "[") depth += 1;
    }
  }
  return parts.join("");
}

function isObject(text: string): boolean {
  try {
    const found: unknown = JSON.parse(text);
    return typeof found === "object" && found !== null;
  } catch {
    return false;
  }
}

function bytesOf(base64: string): Uint8Array {
  try {
    return Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
  } catch {
    return new Uint8Array();
  }
}

function hexes(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

/** Lines of sixteen bytes: where they begin, the bytes, and those of them that are ASCII. */
function hexOf(bytes: Uint8Array): string {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += HEX_WIDTH) {
    const part = bytes.slice(at, at + HEX_WIDTH);
    const text = [...part].map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${at.toString(16).padStart(6, "0")}  ${hexes(part).padEnd(HEX_WIDTH * 3 - 1)}  ${text}`);
  }
  return lines.join("\n");
}
