/** Whether two types are of one series: `ws_candles_1m` is live what `api_candles_1m` loads. */
export function sameSeries(one: string, other: string): boolean {
  const plain = (type: string): string => type.replace(/^(api|ws)_/, "");
  return plain(one) === plain(other);
}

/** Whether its records have prices, of which bars are made. */
export function hasBars(type: string): boolean {
  return /^(api|ws)_(candles_|(agg_)?trades$)/.test(type);
}

/** The screen that shows a series, as a path and its query: its chart, or its coverage where there are no bars of it. */
export function placeOf(symbol: string, type: string, range: Record<string, string> = {}): [string, URLSearchParams] {
  if (!hasBars(type)) return ["/coverage", new URLSearchParams({ prefix: symbol, type, ...range })];
  return [`/series/${encodeURIComponent(symbol)}/${encodeURIComponent(type)}`, new URLSearchParams(range)];
}
