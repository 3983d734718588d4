import assert from "node:assert/strict";
import test from "node:test";
import { hasBars, placeOf } from "./types.ts";

test("there are bars of candles and trades alone", () => {
  for (const type of ["api_candles_1m", "ws_candles_1s", "api_trades", "ws_trades", "ws_agg_trades"]) {
    assert.ok(hasBars(type), type);
  }
  for (const type of ["ws_orderbook", "quotes", "my_trades", "ws_trades_x", ""]) assert.ok(!hasBars(type), type);
});

test("what has no bars leads to its coverage, of the same range", () => {
  const told = (type: string, range = {}) => placeOf("A/B", type, range).map(String);
  assert.deepEqual(told("ws_trades"), ["/series/A%2FB/ws_trades", ""]);
  assert.deepEqual(told("ws_trades", { start: "1", end: "2" }), ["/series/A%2FB/ws_trades", "start=1&end=2"]);
  assert.deepEqual(told("ws_orderbook"), ["/coverage", "prefix=A%2FB&type=ws_orderbook"]);
  assert.deepEqual(told("ws_orderbook", { start: "1", end: "2" }), [
    "/coverage",
    "prefix=A%2FB&type=ws_orderbook&start=1&end=2",
  ]);
});
