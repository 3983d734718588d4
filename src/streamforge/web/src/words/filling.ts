import { numberFormat, pluralRules } from "../lib/intl.ts";

export type Values = Record<string, string | number>;
type Forms = Partial<Record<Intl.LDMLPluralRule, string>> & { other: string };
type Entry = string | Forms;
/** The same entries in another language: a text for a text, forms for forms. */
export type Translation<Words> = { readonly [Name in keyof Words]: Words[Name] extends string ? string : Forms };

/** An entry of a catalogue as a text: numbers in the language's own form, `n` by its rules of plurals.
 *  useGrouping: digits in groups. */
export function fill(entry: Entry, values: Values, language: string, useGrouping = true): string {
  let text: string;
  if (typeof entry === "string") text = entry;
  else text = entry[pluralRules(language).select(Number(values.n))] ?? entry.other;
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => {
    const value = values[name];
    if (value === undefined) return whole;
    return typeof value === "number" ? numberFormat(language, { useGrouping }).format(value) : value;
  });
}
