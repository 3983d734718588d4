interface Listed {
  symbol: string;
  status: string;
}

/** The word that is being written at the end of a text of symbols. */
export function lastWord(text: string): string {
  return (/[^\s,;]*$/.exec(text)?.[0] ?? "").toUpperCase();
}

/** Symbols that the last word of the text may become: those that begin with it first, traded ones before others. */
export function completions(text: string, listed: readonly Listed[], most: number): string[] {
  const word = lastWord(text);
  if (word === "" || /[*?[]/.test(word)) return [];
  const rank = (one: Listed): number => (one.symbol.startsWith(word) ? 0 : 2) + (one.status === "TRADING" ? 0 : 1);
  const found = listed.filter((one) => one.symbol.includes(word) && one.symbol !== word);
  return found
    .sort((one, other) => rank(one) - rank(other) || (one.symbol < other.symbol ? -1 : 1))
    .slice(0, most)
    .map((one) => one.symbol);
}

/** The text with a symbol in the place of its last word, ready for the next one. */
export function completed(text: string, symbol: string): string {
  return `${text.slice(0, text.length - lastWord(text).length)}${symbol} `;
}
