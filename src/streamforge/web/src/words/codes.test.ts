import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import { modelFields } from "../lib/asking.ts";
import { REASONS } from "../lib/reasons.ts";
import type { Schema } from "../lib/schema.ts";
import { en } from "./en.ts";
import { MEANINGS, UNITS } from "./ru/settingmeanings.ts";
import { ru } from "./ru.ts";

const REFERENCE = new URL("../../../../../docs/reference/", import.meta.url);
const read = (name: string): string => readFileSync(new URL(name, REFERENCE), "utf8");
const openapi = JSON.parse(read("openapi.json")) as Schema;

/** Below which words the names of an enumeration are, by its place among the schemas: the first that fits. */
const WORDS: [RegExp, string][] = [
  [/^Verdict$|^(VerdictSum|Missing|Segment|Bars|SeriesRuns)\/|^Book\/verdict/, "verdict"],
  [/^Health(Finding|Report)\/verdict$/, "health.verdict"],
  [/^HealthFinding\/code$/, "finding"],
  [/^(LetterCode|DeadLetter\/code|ReasonCount\/code)$/, "letters.code"],
  [/^Failure\/code$/, "failure"],
  [/^(PlanPart|ForecastPart)\/source$/, "source"],
  [/^(PlanPart|ForecastPart)\/codes$/, "why"],
  [/^Note\/code$/, "note"],
  [/^(SourceChoice|Missed)$|^(Batch(Summary)?|Schedule)\/source$|^Schedule\/missed$/, "choice"],
  [/^Topic\/kind$/, "topics.kind"],
  [/^Topic\/retention$/, "topics.retention"],
  [/^Setting\/origin$/, "health.settings"],
  [/^Book\/trust$/, "trust"],
  [/^Live\/state$/, "live.state"],
  [/^(Status|MemberStatus)$|^(?!Health)\w+\/status$|^ScheduleRun\/state$/, "status"],
];
/** Enumerations that no screen shows, or that requests alone hold. */
const UNSEEN =
  /^(Format|SeriesOrder|Times|Index\/service|Health\/status|DeadLetter\/encoding|ScoreMoments\/since|CoverageSpan\/basis|(Step|Target|Access)\/role|Handover\/state|Feed(End|Removed)\/(kind|reason))$/;

function enumerations(schema: unknown, place: string): [string, string[]][] {
  if (typeof schema !== "object" || schema === null) return [];
  const { enum: several, const: one } = schema as { enum?: unknown; const?: unknown };
  const own = Array.isArray(several) ? several : typeof one === "string" ? [one] : [];
  const inner = Object.entries(schema).flatMap(([name, part]) => {
    const step = ["properties", "items", "anyOf", "prefixItems"].includes(name) || /^\d+$/.test(name) ? "" : `/${name}`;
    return name === "enum" ? [] : enumerations(part, place + step);
  });
  return own.length > 0 ? [[place, own.map(String)], ...inner] : inner;
}

function lacking(words: readonly string[]): string[] {
  return words.filter((word) => !(word in en) || !(word in ru));
}

test("each name of an enumeration of the API has words", () => {
  const schemas = (openapi.components as { schemas: Schema }).schemas;
  const all = Object.entries(schemas).flatMap(([name, schema]) => enumerations(schema, name));
  assert.ok(all.length > 40);
  for (const [place, names] of all) {
    const prefix = WORDS.find(([places]) => places.test(place))?.[1];
    assert.ok((prefix === undefined) === UNSEEN.test(place), `${place} is in one of WORDS and UNSEEN`);
    if (prefix === undefined) continue;
    const words = names.filter((name) => name !== "").map((name) => `${prefix}.${name}`);
    assert.deepEqual(lacking(words), [], place);
  }
});

test("each verdict has a letter of its own, in either language", () => {
  const words = ["stored", ...REASONS].map((verdict) => `letter.${verdict}`);
  assert.deepEqual(lacking(words), []);
  for (const catalogue of [en, ru] as Record<string, unknown>[]) {
    const letters = words.map((word) => String(catalogue[word]));
    assert.equal(new Set(letters).size, words.length);
    assert.ok(letters.every((letter) => /^\p{Lu}$/u.test(letter)));
  }
});

test("each code of the reference has words", () => {
  const [, ...parts] = read("codes.md").split(/^## /m);
  const prefixes: Record<string, string> = {
    Problems: "problem",
    Failures: "failure",
    Findings: "finding",
    "Dead letters": "letters.code",
    "Parts of a plan": "why",
    Notes: "note",
  };
  for (const part of parts) {
    const title = part.slice(0, part.indexOf("\n"));
    const codes = [...part.matchAll(/^\| `([^`]+)` \|/gm)].map((found) => `${prefixes[title]}.${found[1]}`);
    assert.ok(codes.length > 0, title);
    assert.deepEqual(lacking(codes), []);
  }
});

test("the words of a note have the values that the server gives, and no other", () => {
  const [, table = ""] = read("codes.md").split("## Notes");
  const rows = [...table.matchAll(/^\| `([^`]+)` \| (.*) \|$/gm)];
  assert.ok(rows.length > 10);
  for (const [, code, meaning = ""] of rows) {
    const given = new Set([...meaning.matchAll(/`(\w+)`/g)].map(([, name]) => name));
    const ranged = given.delete("start_ms") && given.delete("end_ms");
    given.delete("detail"); // it stands beside the words
    const text = (en as Record<string, unknown>)[`note.${code}`] as string;
    const used = new Set([...text.matchAll(/\{(\w+)\}/g)].map(([, name]) => name));
    assert.deepEqual(used, new Set(ranged ? [...given, "range"] : given), code);
  }
});

test("each setting of the manager has a meaning in Russian, and each unit a word", () => {
  const page = readFileSync(new URL("../../services/queue-manager/README.md", REFERENCE), "utf8");
  const table = page.slice(page.indexOf("<!-- environment"), page.indexOf("<!-- /environment"));
  const own = [...table.matchAll(/^\| `([A-Z0-9_]+)`/gm)];
  const shared = [...table.matchAll(/^\| \[.*/gm)].flatMap(([row]) => [...row.matchAll(/`([A-Z0-9_]+)`/g)]);
  const names = [...own, ...shared].map((found) => found[1]);
  assert.ok(names.length > 100);
  assert.deepEqual([...new Set(names)].sort(), Object.keys(MEANINGS).sort());
  const types = [...table.matchAll(/^\| `[A-Z0-9_]+` \| ([^|]*) \|/gm)].map((found) => found[1] ?? "");
  const units = types.flatMap((type) => /^(?:integer|number|PATTERN=DAYS, …), (.*)$/.exec(type)?.[1] ?? []);
  assert.ok(units.length > 20);
  assert.deepEqual(
    units.filter((unit) => !(unit in UNITS)),
    [],
  );
});

test("each event of a worker has words", () => {
  const { components } = JSON.parse(read("asyncapi.json"));
  const events: string[] = components.schemas.event.properties.event.enum;
  assert.deepEqual(lacking(events.map((name) => `event.${name}`)), []);
});

test("each field of a form has a name and a hint", () => {
  for (const model of ["Start", "StartBatch", "AddSchedule", "ChangeSchedule"]) {
    const names = modelFields(openapi, model).map((field) => field.name);
    const shown = ["type", ...names.filter((name) => name !== "paused")];
    assert.deepEqual(lacking(shown.flatMap((name) => [`field.${name}`, `hint.${name}`])), []);
  }
});
