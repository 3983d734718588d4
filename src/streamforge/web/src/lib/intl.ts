/** Formatters of the languages; to make one takes longer than to use it a hundred times. */

const numbers = new Map<string, Intl.NumberFormat>();
const plurals = new Map<string, Intl.PluralRules>();

export function numberFormat(language: string, options: Intl.NumberFormatOptions = {}): Intl.NumberFormat {
  const key = language + JSON.stringify(options);
  let found = numbers.get(key);
  if (found === undefined) {
    found = new Intl.NumberFormat(language, options);
    numbers.set(key, found);
  }
  return found;
}

export function pluralRules(language: string): Intl.PluralRules {
  let found = plurals.get(language);
  if (found === undefined) {
    found = new Intl.PluralRules(language);
    plurals.set(language, found);
  }
  return found;
}
