import assert from "node:assert/strict";
import test from "node:test";
import { Random } from "./random.ts";
import {
  type Field,
  fieldsOf,
  type Json,
  type Kind,
  limitsOf,
  parsed,
  type Schema,
  textOf,
  valuesOf,
} from "./schema.ts";

const KINDS: readonly Kind[] = ["text", "integer", "number", "boolean", "choice", "texts", "pairs", "json"];
const WORDS = ["a", "null", "true", "7", "[x]", "{y}", "a:b", " edge ", "ж\nб", 'quote"', "<b>"];

function schemaOf(kind: Kind, random: Random): Schema {
  switch (kind) {
    case "text":
      return { type: "string", maxLength: 20 };
    case "integer":
      return { type: "integer", minimum: random.below(5), maximum: 5 + random.below(5) };
    case "number":
      return { type: "number", exclusiveMinimum: 0, maximum: 10 };
    case "boolean":
      return { type: "boolean" };
    case "choice":
      return { enum: ["auto", "archive", "null"] };
    case "texts":
      return { type: "array", items: { type: "string" }, maxItems: 5 };
    case "pairs":
      return { type: "object", additionalProperties: { type: "string" } };
    default:
      return random.one<Schema>([
        { type: "array", items: { type: "integer" } },
        { type: "object", properties: { a: { type: "integer" } } },
        { oneOf: [{ type: "string" }, { type: "integer" }, { type: "boolean" }] },
      ]);
  }
}

function valueFor(kind: Kind, schema: Schema, random: Random): Json {
  switch (kind) {
    case "text":
      return random.one(WORDS);
    case "integer":
      return (schema.minimum as number) + random.below((schema.maximum as number) - (schema.minimum as number) + 1);
    case "number":
      return (1 + random.below(10_000)) / 1000;
    case "boolean":
      return random.one([true, false]);
    case "choice":
      return random.one(["auto", "archive", "null"]);
    case "texts":
      return random.many(5, () => random.one(WORDS));
    case "pairs":
      return Object.fromEntries(random.many(4, () => [random.one(WORDS), random.one(WORDS)]));
    default:
      if (schema.type === "array") return random.many(3, () => random.below(9));
      return schema.type === "object" ? { a: random.below(9) } : random.one<Json>([7, "x", true]);
  }
}

/** The schema in one of the ways in which documents write it. */
function written(schema: Schema, nullable: boolean, random: Random, defs: Record<string, Schema>): Schema {
  let found = schema;
  if (random.below(2)) {
    const name = `T${Object.keys(defs).length}`;
    defs[name] = schema;
    found = { $ref: `#/$defs/${name}` };
  }
  if (!nullable) return found;
  return typeof found.type === "string" && random.below(2)
    ? { ...found, type: [found.type, "null"] }
    : { anyOf: [found, { type: "null" }] };
}

test("a random schema's values are the same after they were texts of its fields", () => {
  for (let seed = 0; seed < 400; seed += 1) {
    const random = new Random(seed);
    const properties: Record<string, Schema> = {};
    const $defs: Record<string, Schema> = {};
    const wanted: { kind: Kind; nullable: boolean; value: Json; byDefault?: Json }[] = [];
    for (let at = 0; at < 6; at += 1) {
      const kind = random.one(KINDS);
      const plain = schemaOf(kind, random);
      const nullable = kind !== "json" && random.below(2) === 1;
      const byDefault = valueFor(kind, plain, random);
      const defaults = random.below(2) ? { default: byDefault } : {};
      properties[`f${at}`] = { ...written(plain, nullable, random, $defs), ...defaults };
      wanted.push({
        kind,
        nullable,
        value: valueFor(kind, plain, random),
        ...(defaults.default === undefined ? {} : { byDefault }),
      });
    }
    const fields = fieldsOf({ type: "object", properties, $defs });
    assert.equal(fields.length, 6);
    wanted.forEach(({ kind, nullable, value, byDefault }, at) => {
      const field = fields[at] as Field;
      assert.deepEqual([field.kind, field.nullable], [kind, nullable], `seed ${seed} ${JSON.stringify(properties)}`);
      const text = textOf(field, value);
      const back = parsed(field, text);
      const expected = JSON.stringify(value) === JSON.stringify(byDefault) ? {} : { value };
      assert.deepEqual(back, expected, `seed ${seed}, ${kind}: ${JSON.stringify(value)} as ${JSON.stringify(text)}`);
    });
  }
});

function only(schema: Schema, required = false): Field {
  return fieldsOf({ properties: { x: schema }, ...(required ? { required: ["x"] } : {}) })[0] as Field;
}

test("what a schema does not allow is refused with the limit", () => {
  const cases: [Schema, string, string, string | number][] = [
    [{ type: "integer", minimum: 1, maximum: 32 }, "0", "minimum", 1],
    [{ type: "integer", minimum: 1, maximum: 32 }, "33", "maximum", 32],
    [{ type: "integer" }, "1.5", "integer", ""],
    [{ type: "integer" }, "9007199254740993", "integer", ""],
    [{ type: "number", exclusiveMinimum: 0 }, "0", "exclusiveMinimum", 0],
    [{ type: "number", exclusiveMaximum: 1 }, "1", "exclusiveMaximum", 1],
    [{ type: "number" }, "Infinity", "number", ""],
    [{ type: "number" }, "1,5", "number", ""],
    [{ type: "boolean" }, "yes", "boolean", ""],
    [{ enum: ["a", "b"] }, "c", "choice", "a, b"],
    [{ type: "string", minLength: 3 }, "ab", "minLength", 3],
    [{ type: "string", maxLength: 2 }, "abc", "maxLength", 2],
    [{ type: "array", items: { type: "string" }, maxItems: 1 }, "a\nb", "maxItems", 1],
    [{ type: "array", items: { type: "string" } }, "[1]", "texts", ""],
    [{ type: "object", additionalProperties: { type: "string" } }, "nocolon", "pairs", ""],
    [{ type: "object", additionalProperties: { type: "string" } }, "a:1\na:2", "pairs", ""],
    [{ type: "object", properties: { a: {} } }, "[1]", "json", ""],
    [{ not: {} }, "{", "json", ""],
  ];
  for (const [schema, text, rule, limit] of cases) {
    assert.deepEqual(parsed(only(schema), text), { bad: { rule, limit } }, `${JSON.stringify(schema)} ${text}`);
  }
});

test("an empty text is left out, and is missing only where it is required", () => {
  assert.deepEqual(parsed(only({ type: "integer" }), ""), {});
  assert.deepEqual(parsed(only({ type: "integer" }, true), ""), { bad: { rule: "missing", limit: "" } });
  assert.deepEqual(parsed(only({ anyOf: [{ type: "integer" }, { type: "null" }], default: 3 }), "null"), {
    value: null,
  });
  const fields = fieldsOf({ properties: { a: { type: "integer" }, b: { type: "boolean" }, c: { type: "string" } } });
  const found = valuesOf(fields, (name) => ({ a: "x", b: "true" })[name] ?? "");
  assert.deepEqual(found, { values: { b: true }, bad: { a: { rule: "integer", limit: "" } } });
});

test("secrets have no field, and references that lead nowhere or in a circle are written as JSON", () => {
  assert.deepEqual(fieldsOf({ properties: { a: { type: "string", format: "password" }, b: { writeOnly: true } } }), []);
  const circle = { properties: { a: { $ref: "#/properties/a" }, b: { $ref: "https://elsewhere/x" } } };
  assert.deepEqual(
    fieldsOf(circle).map((one) => one.kind),
    ["json", "json"],
  );
  assert.deepEqual(fieldsOf({}), []);
});

test("limits are shown as they are", () => {
  assert.equal(limitsOf({ minimum: 1, maximum: 32 }), "1 ≤ … ≤ 32");
  assert.equal(limitsOf({ exclusiveMinimum: 0 }), "0 < …");
  assert.equal(limitsOf({}), "");
});
