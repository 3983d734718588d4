import assert from "node:assert/strict";
import test from "node:test";
import { en } from "./en.ts";
import { fill } from "./filling.ts";
import { ru } from "./ru.ts";

type Entry = string | Record<string, string>;
const english: Record<string, Entry> = en;
const russian: Record<string, Entry> = ru;

function names(text: string): string[] {
  return [...text.matchAll(/\{(\w+)\}/g)].map((found) => found[1] as string).sort();
}

function texts(entry: Entry | undefined): string[] {
  return typeof entry === "string" ? [entry] : Object.values(entry ?? {});
}

test("every entry has the same values in both languages", () => {
  assert.deepEqual(Object.keys(russian).sort(), Object.keys(english).sort());
  for (const [word, entry] of Object.entries(english)) {
    const wanted = new Set(texts(entry).flatMap(names));
    for (const text of texts(russian[word])) assert.deepEqual(new Set(names(text)), wanted, word);
  }
});

test("an entry with forms has each form that its language needs", () => {
  for (const [language, catalogue] of [
    ["en", english],
    ["ru", russian],
  ] as const) {
    const needed = new Intl.PluralRules(language).resolvedOptions().pluralCategories;
    for (const [word, entry] of Object.entries(catalogue)) {
      if (typeof entry !== "string") assert.deepEqual(Object.keys(entry).sort(), [...needed].sort(), word);
    }
  }
});

test("the form follows from the number, and numbers are the language's own", () => {
  const forms = { one: "{n} запись", few: "{n} записи", many: "{n} записей", other: "{n} записи" };
  const found = [1, 2, 5, 11, 21, 1.5, 10_000].map((n) => fill(forms, { n }, "ru").replace(/\u00a0/g, " "));
  assert.deepEqual(found, [
    "1 запись",
    "2 записи",
    "5 записей",
    "11 записей",
    "21 запись",
    "1,5 записи",
    "10 000 записей",
  ]);
});

test("a value is put in as it is, also one that looks like a name", () => {
  assert.equal(fill("{a}, {b}, {c}", { a: "{b}", b: "<b>$&" }, "en"), "{b}, <b>$&, {c}");
});
