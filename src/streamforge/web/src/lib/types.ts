/** Whether two types are of one series: `ws_candles_1m` is live what `api_candles_1m` loads. */
export function sameSeries(one: string, other: string): boolean {
  const plain = (type: string): string => type.replace(/^(api|ws)_/, "");
  return plain(one) === plain(other);
}
