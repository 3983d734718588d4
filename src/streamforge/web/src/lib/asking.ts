/** What a form asks for: its texts, by the names of the API's fields, as a request, and a request as its texts. */
import type { FieldError, Target } from "../api/types";
import { type Complaint, type Field, fieldsOf, type Json, type Schema, textOf, valuesOf } from "./schema.ts";
import { resolved } from "./timerange.ts";

export type Texts = Readonly<Record<string, string>>;
export type Body = Record<string, Json>;

/** The parameters of a target; its fields are named `parameters.TARGET.NAME`. */
export interface Section {
  target: string;
  summary: string;
  fields: readonly Field[];
}

export interface Asked {
  many: boolean;
  body: Body;
  /** What is wrong, by field. */
  bad: Record<string, Complaint>;
}

/** How the range is given: as one, since an instant, since the coverage's end, or (live types) from now on. */
export type Extent = "range" | "since" | "last" | "now";

/** Fields of the models that the form does not make of their schemas. */
const BY_HAND = ["symbol", "symbols", "type", "time_range", "since", "from", "parameters"];
const LONGEST_QUERY = 6000;

/** The fields of a model of the OpenAPI document that are made of its schema. */
export function modelFields(document: Schema, model: string): Field[] {
  return allFields(document, model).filter((field) => !BY_HAND.includes(field.name));
}

/** The field of the type, whose name each of the models gives it. */
export function typeField(document: Schema, model: string): Field | undefined {
  return allFields(document, model).find((field) => field.name === "type");
}

function allFields(document: Schema, model: string): Field[] {
  const schemas = (document.components as { schemas?: Record<string, Schema> } | undefined)?.schemas ?? {};
  return fieldsOf(schemas[model] ?? {}, document);
}

/** The parameters of the targets that work on the type. */
export function sectionsOf(targets: readonly Target[], type: string): Section[] {
  return targets
    .filter((one) => one.role !== "diagnostic" && one.types.some((begin) => type.startsWith(begin)))
    .map(({ target, summary, parameters }) => {
      const fields = fieldsOf(parameters as Schema).map((one) => ({ ...one, name: parameterName(target, one.name) }));
      return { target, summary, fields };
    })
    .filter((section) => section.fields.length > 0);
}

function parameterName(target: string, name: string): string {
  return `parameters.${target}.${name}`;
}

/** The symbols and patterns of a text: between spaces, commas and new lines, each once, in capital letters. */
export function wordsOf(text: string): string[] {
  return [...new Set(text.toUpperCase().split(/[\s,;]+/))].filter((word) => word !== "");
}

/** Whether it is a batch that they ask for. */
export function isMany(words: readonly string[]): boolean {
  return words.length > 1 || words.some(isPattern);
}

export function isPattern(word: string): boolean {
  return /[*?[]/.test(word);
}

export function isLive(type: string): boolean {
  return type.startsWith("ws_");
}

export function extentOf(texts: Texts): Extent {
  const live = isLive(texts.type ?? "");
  const found = texts.span ?? "";
  if (found === "since" || found === "last" || found === "range") return found;
  return live ? "now" : "range";
}

/** The request that the texts ask for. fields: of the model; sections: of the targets, which a batch does without. */
export function asked(texts: Texts, fields: readonly Field[], sections: readonly Section[], nowMs: number): Asked {
  const words = wordsOf(texts.symbols ?? "");
  const many = isMany(words);
  const text = (name: string): string => texts[name] ?? "";
  const type = text("type").trim();
  const found = valuesOf(fields, text);
  const range = rangeOf(texts, nowMs);
  const chosen = many ? { values: {}, bad: {} } : parametersOf(sections, text);
  const bad = { ...found.bad, ...range.bad, ...chosen.bad };
  if (words.length === 0) bad.symbols = { rule: "missing", limit: "" };
  if (type === "") bad.type = { rule: "missing", limit: "" };
  const symbols: Body = many ? { symbols: words } : { symbol: words[0] ?? "" };
  return { many, body: { ...symbols, type, ...range.values, ...found.values, ...chosen.values }, bad };
}

function parametersOf(sections: readonly Section[], text: (name: string) => string) {
  const parameters: Record<string, Body> = {};
  const bad: Record<string, Complaint> = {};
  for (const { target, fields } of sections) {
    const found = valuesOf(fields, text);
    Object.assign(bad, found.bad);
    const named = Object.entries(found.values).map(([name, value]) => [
      name.slice(parameterName(target, "").length),
      value,
    ]);
    if (named.length > 0) parameters[target] = Object.fromEntries(named);
  }
  return { values: Object.keys(parameters).length > 0 ? { parameters } : {}, bad };
}

/** The range that the texts mean at the instant; null: none, or one that only the server knows. */
export function spanOf(texts: Texts, nowMs: number) {
  const extent = extentOf(texts);
  if (extent === "range") return resolved((texts.time_range ?? "").trim(), nowMs);
  return extent === "since" ? resolved(`${(texts.since ?? "").trim()}:`, nowMs) : null;
}

function rangeOf(texts: Texts, nowMs: number): { values: Body; bad: Record<string, Complaint> } {
  const extent = extentOf(texts);
  if (extent === "now") return { values: {}, bad: {} };
  const field = extent === "range" ? "time_range" : extent === "since" ? "since" : "from";
  const text = (texts[field] ?? "").trim();
  const values: Body = { ...(extent === "last" ? { since: "last" } : {}), ...(text ? { [field]: text } : {}) };
  if (text === "") return { values, bad: extent === "last" ? {} : { [field]: { rule: "missing", limit: "" } } };
  const span = resolved(extent === "range" ? text : `${text}:`, nowMs);
  if (span === null) return { values, bad: { [field]: { rule: extent === "range" ? "range" : "instant", limit: "" } } };
  return { values, bad: span.startMs >= nowMs ? { [field]: { rule: "future", limit: "" } } : {} };
}

/** The texts with which a form asks for what the body does. */
export function textsOf(
  body: Body,
  fields: readonly Field[],
  sections: readonly Section[] = [],
): Record<string, string> {
  const text = (name: string): string => (typeof body[name] === "string" ? (body[name] as string) : "");
  const symbols = Array.isArray(body.symbols) ? body.symbols.join(", ") : text("symbol");
  const found: Record<string, string> = { symbols, type: text("type") };
  for (const name of ["time_range", "since", "from"])
    found[name] = name === "since" && text(name) === "last" ? "" : text(name);
  if (text("since") !== "") found.span = text("since") === "last" ? "last" : "since";
  else if (isLive(found.type ?? "") && text("time_range") !== "") found.span = "range";
  for (const field of fields) found[field.name] = textOf(field, body[field.name]);
  const parameters = (body.parameters ?? {}) as Record<string, Body>;
  for (const { target, fields: own } of sections) {
    for (const field of own) {
      const name = field.name.slice(parameterName(target, "").length);
      found[field.name] = textOf(field, parameters[target]?.[name]);
    }
  }
  return Object.fromEntries(Object.entries(found).filter(([, one]) => one !== ""));
}

/** The texts as a query. Symbols that are too many for an address are left out. */
export function queryOf(texts: Texts): URLSearchParams {
  const query = new URLSearchParams(Object.entries(texts).filter(([, text]) => text !== ""));
  if (query.toString().length > LONGEST_QUERY) query.delete("symbols");
  return query;
}

/** The texts of an address. */
export function textsOfQuery(query: URLSearchParams): Record<string, string> {
  return Object.fromEntries([...query].filter(([name, text]) => text !== "" && !["like", "form"].includes(name)));
}

/** What the server says of inputs, by the fields that the form has; of others under "". */
export function byField(errors: readonly FieldError[], names: ReadonlySet<string>): Record<string, FieldError[]> {
  const found: Record<string, FieldError[]> = {};
  for (const error of errors) {
    let name = error.field === "symbol" ? "symbols" : error.field;
    while (name !== "" && !names.has(name)) name = name.slice(0, Math.max(0, name.search(/(\.[^.[]*|\[\d+\])$/)));
    found[name] = [...(found[name] ?? []), error];
  }
  return found;
}
