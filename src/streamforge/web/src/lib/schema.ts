/** Forms from JSON Schemas: a field for each property. A field's value is kept as text; an empty text leaves it out. */
export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
export type Schema = Readonly<Record<string, unknown>>;
export type Kind = "text" | "integer" | "number" | "boolean" | "choice" | "texts" | "pairs" | "json";

export interface Field {
  name: string;
  kind: Kind;
  required: boolean;
  nullable: boolean;
  description: string;
  /** What the server takes where the field is left out, if it says so. */
  default?: Json;
  choices: readonly string[];
  /** Its schema without what it refers to, and without null. */
  schema: Schema;
}

/** Why a text is no value of a field: a key below `bad.` of the catalogue, and what it must keep to. */
export interface Complaint {
  rule: string;
  limit: string | number;
}
export type Parsed = { value?: Json; bad?: Complaint };

/** What makes a schema more than a plain one. */
const BEYOND = ["$ref", "allOf", "anyOf", "oneOf", "not", "if", "prefixItems", "contains", "patternProperties"];
const DEEPEST = 8;

/** The fields of an object's schema, in its order. root: the document that its references point into. */
export function fieldsOf(schema: Schema, root: Schema = schema): Field[] {
  const required = new Set(list(schema.required));
  return Object.entries(record(schema.properties)).flatMap(([name, one]) => {
    const whole = resolved(record(one), root);
    const { schema: plain, nullable } = withoutNull(whole, root);
    if (plain.format === "password" || plain.writeOnly === true) return [];
    const field = {
      name,
      kind: kindOf(plain, root),
      required: required.has(name),
      nullable,
      description: String(whole.description ?? plain.description ?? ""),
      choices: choicesOf(plain),
      schema: plain,
    };
    return [whole.default === undefined ? field : { ...field, default: whole.default as Json }];
  });
}

function record(value: unknown): Schema {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Schema) : {};
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

/** The schema with what it refers to inside the document; a reference to elsewhere stays. */
function resolved(schema: Schema, root: Schema, depth = 0): Schema {
  const to = schema.$ref;
  if (typeof to !== "string" || !to.startsWith("#/") || depth > DEEPEST) return schema;
  let found: unknown = root;
  for (const part of to.slice(2).split("/")) {
    const name = part.replaceAll("~1", "/").replaceAll("~0", "~");
    found = Object.hasOwn(record(found), name) ? record(found)[name] : undefined;
  }
  if (found === undefined) return schema;
  const { $ref: _, ...more } = schema;
  return { ...resolved(record(found), root, depth + 1), ...more };
}

function withoutNull(schema: Schema, root: Schema): { schema: Schema; nullable: boolean } {
  if (Array.isArray(schema.type)) {
    const types = schema.type.filter((one) => one !== "null");
    const nullable = types.length < schema.type.length;
    return { schema: { ...schema, type: types.length === 1 ? types[0] : types }, nullable };
  }
  for (const word of ["anyOf", "oneOf"]) {
    const branches = list(schema[word]).map(record);
    const others = branches.filter((one) => one.type !== "null");
    if (others.length === 1 && branches.length === 2) {
      const { [word]: _, ...more } = schema;
      return { schema: { ...more, ...resolved(record(others[0]), root) }, nullable: true };
    }
  }
  return { schema, nullable: false };
}

function kindOf(schema: Schema, root: Schema): Kind {
  if (BEYOND.some((word) => word in schema)) return "json";
  if ("enum" in schema || "const" in schema) return choicesOf(schema).length > 0 ? "choice" : "json";
  switch (schema.type) {
    case "string":
      return "text";
    case "integer":
    case "number":
    case "boolean":
      return schema.type;
    case "array":
      return isText(schema.items, root) ? "texts" : "json";
    case "object":
      return !("properties" in schema) && isText(schema.additionalProperties, root) ? "pairs" : "json";
    default:
      return "json";
  }
}

function isText(schema: unknown, root: Schema): boolean {
  return kindOf(resolved(record(schema), root), root) === "text";
}

/** The texts to choose from; none if they are not all texts, or if one is empty, which here means left out. */
function choicesOf(schema: Schema): string[] {
  const found = "const" in schema ? [schema.const] : list(schema.enum);
  return found.every((one) => typeof one === "string" && one !== "") ? (found as string[]) : [];
}

/** The value that a text means. An empty one has none, which is wrong only where the field is required. */
export function parsed(field: Field, text: string): Parsed {
  if (text === "") return field.required ? { bad: { rule: "missing", limit: "" } } : {};
  if (field.nullable && text.trim() === "null" && !["text", "choice"].includes(field.kind)) return { value: null };
  const value = read(field, text);
  if (value === undefined) return { bad: { rule: field.kind, limit: field.choices.join(", ") } };
  const bad = beyond(field.schema, value);
  return bad === null ? { value } : { bad };
}

function read(field: Field, text: string): Json | undefined {
  switch (field.kind) {
    case "text":
      return text;
    case "integer":
      return /^\s*[+-]?\d+\s*$/.test(text) && Number.isSafeInteger(Number(text)) ? Number(text) : undefined;
    case "number":
      return text.trim() !== "" && Number.isFinite(Number(text)) ? Number(text) : undefined;
    case "boolean":
      return text === "true" ? true : text === "false" ? false : undefined;
    case "choice":
      return field.choices.includes(text) ? text : undefined;
    case "texts":
      return text.trimStart().startsWith("[") ? texts(json(text)) : lines(text);
    case "pairs":
      return text.trimStart().startsWith("{") ? pairs(json(text)) : pairsOf(lines(text));
    default:
      return typed(field.schema.type, json(text));
  }
}

function lines(text: string): string[] {
  return text
    .split("\n")
    .map((one) => one.trim())
    .filter((one) => one !== "");
}

function json(text: string): Json | undefined {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return undefined;
  }
}

function texts(value: Json | undefined): string[] | undefined {
  return Array.isArray(value) && value.every((one) => typeof one === "string") ? (value as string[]) : undefined;
}

function pairs(value: Json | undefined): Record<string, string> | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  return Object.values(value).every((one) => typeof one === "string") ? (value as Record<string, string>) : undefined;
}

/** `key:value`, one a line. */
function pairsOf(found: string[]): Record<string, string> | undefined {
  const split = found.map((one) => [one.slice(0, one.indexOf(":")), one.slice(one.indexOf(":") + 1)]);
  const names = new Set(split.map(([name]) => name));
  if (names.size < found.length || found.some((one) => one.indexOf(":") < 1)) return undefined;
  return Object.fromEntries(split) as Record<string, string>;
}

/** The value, if it is of the type that the schema names; `undefined` if not. */
function typed(type: unknown, value: Json | undefined): Json | undefined {
  if (value === undefined || type === undefined) return value;
  const is = value === null ? "null" : Array.isArray(value) ? "array" : typeof value;
  const fits = (Array.isArray(type) ? type : [type]).some(
    (one) => one === is || (is === "number" && one === "integer" && Number.isInteger(value)),
  );
  return fits ? value : undefined;
}

/** The first limit of the schema that the value does not keep. */
function beyond(schema: Schema, value: Json): Complaint | null {
  const [size, rules] = limited(value);
  for (const [rule, keeps] of Object.entries(rules)) {
    const limit = schema[rule];
    if (typeof limit === "number" && !keeps(size, limit)) return { rule, limit };
  }
  return null;
}

type Rules = Record<string, (size: number, limit: number) => boolean>;
const least = (size: number, limit: number): boolean => size >= limit;
const most = (size: number, limit: number): boolean => size <= limit;
const OF_NUMBERS: Rules = {
  minimum: least,
  exclusiveMinimum: (size, limit) => size > limit,
  maximum: most,
  exclusiveMaximum: (size, limit) => size < limit,
};

/** What of a value has limits, and which. */
function limited(value: Json): [number, Rules] {
  if (typeof value === "number") return [value, OF_NUMBERS];
  if (typeof value === "string") return [[...value].length, { minLength: least, maxLength: most }];
  if (Array.isArray(value)) return [value.length, { minItems: least, maxItems: most }];
  if (value !== null && typeof value === "object")
    return [Object.keys(value).length, { minProperties: least, maxProperties: most }];
  return [0, {}];
}

/** The text that means the value; empty where that is the default. */
export function textOf(field: Field, value: Json | undefined): string {
  if (value === undefined || same(value, field.default)) return "";
  if (value === null) return field.nullable && field.default !== undefined ? "null" : "";
  if (field.kind === "texts" && texts(value)) return textOfLines(value as string[], value, "[");
  if (field.kind === "pairs" && pairs(value)) {
    const found = Object.entries(value).map(([name, one]) => `${name}:${one}`);
    return Object.keys(value).some((name) => name === "" || name.includes(":"))
      ? JSON.stringify(value)
      : textOfLines(found, value, "{");
  }
  return field.kind === "json" || typeof value !== "string" ? JSON.stringify(value) : value;
}

function textOfLines(found: string[], value: Json, mark: string): string {
  const text = found.join("\n");
  const plain = text !== "null" && found.every((one) => one !== "" && one === one.trim() && !one.includes("\n"));
  return plain && found.length > 0 && !found[0]?.startsWith(mark) ? text : JSON.stringify(value);
}

function same(one: Json, other: Json | undefined): boolean {
  return one === other || (other !== undefined && JSON.stringify(one) === JSON.stringify(other));
}

/** The limits of a field as one reads them: `1 ≤ … ≤ 32`. */
export function limitsOf(schema: Schema): string {
  const { minimum, exclusiveMinimum, maximum, exclusiveMaximum } = schema;
  const low = minimum !== undefined ? `${minimum} ≤ ` : exclusiveMinimum !== undefined ? `${exclusiveMinimum} < ` : "";
  const high = maximum !== undefined ? ` ≤ ${maximum}` : exclusiveMaximum !== undefined ? ` < ${exclusiveMaximum}` : "";
  return low || high ? `${low}…${high}` : "";
}

/** The values of the texts by field name, and what is wrong with others. */
export function valuesOf(
  fields: readonly Field[],
  text: (name: string) => string,
): { values: Record<string, Json>; bad: Record<string, Complaint> } {
  const values: Record<string, Json> = {};
  const bad: Record<string, Complaint> = {};
  for (const field of fields) {
    const found = parsed(field, text(field.name));
    if (found.bad !== undefined) bad[field.name] = found.bad;
    else if (found.value !== undefined) values[field.name] = found.value;
  }
  return { values, bad };
}
