import assert from "node:assert/strict";
import test from "node:test";
import type { Target } from "../api/types";
import { copiesOfAsked } from "./askedcopies.ts";
import {
  asked,
  type Body,
  byField,
  modelFields,
  queryOf,
  sectionsOf,
  textsOf,
  textsOfQuery,
  wordsOf,
} from "./asking.ts";
import { completed, completions } from "./completions.ts";
import { Once } from "./once.ts";
import { Random } from "./random.ts";

const NOW = Date.UTC(2024, 7, 10, 12);
const SOURCE = { type: "string", enum: ["auto", "archive", "rest"] };
const LABELS = { type: "object", additionalProperties: { type: "string" } };
const SHARED = {
  time_range: { anyOf: [{ type: "string" }, { type: "null" }] },
  again: { type: "boolean", default: false },
  source: { $ref: "#/components/schemas/SourceChoice", default: "auto" },
  labels: LABELS,
};
const DOCUMENT = {
  components: {
    schemas: {
      SourceChoice: SOURCE,
      Start: {
        properties: {
          symbol: { type: "string" },
          targets: { anyOf: [{ type: "array", items: { type: "string" } }, { type: "null" }] },
          ...SHARED,
        },
        required: ["symbol", "type"],
      },
      StartBatch: { properties: { listed_at: { anyOf: [{ type: "string" }, { type: "null" }] }, ...SHARED } },
    },
  },
};
const ONE = modelFields(DOCUMENT, "Start");
const MANY = modelFields(DOCUMENT, "StartBatch");
const parameters = (properties: object): Target["parameters"] =>
  ({ type: "object", properties }) as unknown as Target["parameters"];
const TARGETS: Target[] = [
  {
    target: "loader",
    role: "loader",
    summary: "",
    types: ["api_candles_"],
    parameters: parameters({ n: { type: "integer", maximum: 32 } }),
  },
  {
    target: "sink",
    role: "sink",
    summary: "",
    types: ["api_", "ws_"],
    parameters: parameters({ s: { type: "number" } }),
  },
  { target: "none", role: "sink", summary: "", types: ["api_"], parameters: parameters({}) },
  {
    target: "dummy",
    role: "diagnostic",
    summary: "",
    types: ["api_"],
    parameters: parameters({ x: { type: "integer" } }),
  },
];
const SECTIONS = sectionsOf(TARGETS, "api_candles_1m");

test("a form has what the models and the targets of the type offer", () => {
  assert.deepEqual(
    ONE.map((one) => [one.name, one.kind]),
    [
      ["targets", "texts"],
      ["again", "boolean"],
      ["source", "choice"],
      ["labels", "pairs"],
    ],
  );
  assert.deepEqual(modelFields(DOCUMENT, "Nothing"), []);
  assert.deepEqual(
    SECTIONS.map((one) => one.target),
    ["loader", "sink"],
  );
  assert.deepEqual(
    sectionsOf(TARGETS, "ws_trades").map((one) => one.target),
    ["sink"],
  );
  assert.deepEqual(sectionsOf(TARGETS, ""), []);
});

test("one symbol asks for a workflow, several or a pattern for a batch without parameters", () => {
  const texts = {
    symbols: " btcusdt ",
    type: "api_candles_1m",
    time_range: "2024-08-01",
    again: "true",
    "parameters.loader.n": "8",
  };
  assert.deepEqual(asked(texts, ONE, SECTIONS, NOW), {
    many: false,
    body: {
      symbol: "BTCUSDT",
      type: "api_candles_1m",
      time_range: "2024-08-01",
      again: true,
      parameters: { loader: { n: 8 } },
    },
    bad: {},
  });
  const many = asked({ ...texts, symbols: "btcusdt,ETHUSDT;\nBTCUSDT *EUR" }, MANY, SECTIONS, NOW);
  assert.deepEqual(
    [many.many, many.body.symbols, many.body.parameters],
    [true, ["BTCUSDT", "ETHUSDT", "*EUR"], undefined],
  );
  assert.equal(asked({ symbols: "*USDT" }, MANY, SECTIONS, NOW).many, true);
});

test("what is wrong is told for each field, and nothing else", () => {
  const wrong = { symbols: " ", time_range: "2024-8", source: "floppy", "parameters.loader.n": "99" };
  assert.deepEqual(asked(wrong, ONE, SECTIONS, NOW).bad, {
    symbols: { rule: "missing", limit: "" },
    type: { rule: "missing", limit: "" },
    time_range: { rule: "range", limit: "" },
    source: { rule: "choice", limit: "auto, archive, rest" },
    "parameters.loader.n": { rule: "maximum", limit: 32 },
  });
  const named = { symbols: "A", type: "api_candles_1m" };
  assert.deepEqual(asked(named, ONE, [], NOW).bad, { time_range: { rule: "missing", limit: "" } });
  assert.deepEqual(asked({ ...named, time_range: "2025" }, ONE, [], NOW).bad, {
    time_range: { rule: "future", limit: "" },
  });
  assert.deepEqual(asked({ ...named, span: "since", since: "x" }, ONE, [], NOW).bad, {
    since: { rule: "instant", limit: "" },
  });
});

test("each way to give a range is the API's own", () => {
  const of = (texts: Record<string, string>): Body => asked({ symbols: "A", ...texts }, ONE, [], NOW).body;
  assert.deepEqual(of({ type: "t", span: "since", since: "-1d", time_range: "2024" }), {
    symbol: "A",
    type: "t",
    since: "-1d",
  });
  assert.deepEqual(of({ type: "t", span: "last", from: "2024" }), {
    symbol: "A",
    type: "t",
    since: "last",
    from: "2024",
  });
  assert.deepEqual(of({ type: "t", span: "last" }), { symbol: "A", type: "t", since: "last" });
  assert.deepEqual(of({ type: "ws_trades", time_range: "2024" }), { symbol: "A", type: "ws_trades" });
  assert.deepEqual(of({ type: "ws_trades", span: "range", time_range: "2024:" }), {
    symbol: "A",
    type: "ws_trades",
    time_range: "2024:",
  });
});

test("a random request is the same after it was a form, and an address", () => {
  for (let seed = 0; seed < 300; seed += 1) {
    const random = new Random(seed);
    const many = random.below(2) === 1;
    const type = random.one(["api_candles_1m", "ws_trades"]);
    const range = random.one<Body>([
      { time_range: "2024:" },
      { since: "-2d" },
      { since: "last" },
      { since: "last", from: "2024" },
    ]);
    const body: Body = {
      ...(many ? { symbols: random.one([["A", "B"], ["*USDT"]]) } : { symbol: "BTCUSDT" }),
      type,
      ...(type === "ws_trades" && random.below(2) ? {} : range),
      ...(random.below(2) ? { again: true } : {}),
      ...(random.below(2) ? { source: random.one(["archive", "rest"]) } : {}),
      ...(random.below(2) ? { labels: { team: "a b", "x/y": "ж:&=" } } : {}),
      ...(!many && random.below(2) ? { targets: ["loader", "sink"] } : {}),
      ...(!many && random.below(2) ? { parameters: { sink: { s: 0.5 } } } : {}),
    };
    const fields = many ? MANY : ONE;
    const sections = sectionsOf(TARGETS, type);
    const texts = textsOf(body, fields, sections);
    assert.deepEqual(textsOfQuery(new URLSearchParams(queryOf(texts).toString())), texts);
    assert.deepEqual(asked(texts, fields, sections, NOW), { many, body, bad: {} }, `seed ${seed}`);
  }
});

test("an address holds no more symbols than fit, and not what it was made like", () => {
  const long = { symbols: Array.from({ length: 1500 }, (_, n) => `S${n}USDT`).join(" "), type: "t" };
  assert.equal(queryOf(long).toString(), "type=t");
  assert.deepEqual(textsOfQuery(new URLSearchParams("like=wf-1&type=t&again=")), { type: "t" });
});

test("what the server says stands at the nearest field that the form has", () => {
  const error = (field: string) => ({ field, where: "body", message: field, next_step: "" });
  const names = new Set(["symbols", "parameters", "parameters.sink.s", "labels"]);
  const fields = ["symbol", "symbols[3]", "parameters.sink.s", "parameters.sink.t", "labels.a.b", "body", "x[1].y"];
  const found = byField(fields.map(error), names);
  assert.deepEqual(Object.fromEntries(Object.entries(found).map(([name, of]) => [name, of.map((one) => one.field)])), {
    symbols: ["symbol", "symbols[3]"],
    "parameters.sink.s": ["parameters.sink.s"],
    parameters: ["parameters.sink.t"],
    labels: ["labels.a.b"],
    "": ["body", "x[1].y"],
  });
});

test("a request is written for each tool, and names what the command line lacks", () => {
  const server = "http://127.0.0.1:8125";
  const one = copiesOfAsked(
    "/queues/start",
    { symbol: "BTCUSDT", type: "api_candles_1m", time_range: "2024-08", again: true },
    server,
  );
  assert.equal(one.cli, `streamforge load BTCUSDT api_candles_1m 2024-08 --again --server ${server}`);
  assert.equal(one.python, `streamforge.load("BTCUSDT", "api_candles_1m", "2024-08", again=True, server="${server}")`);
  const body = {
    symbols: ["A", "*'B"],
    type: "t",
    since: "last",
    from: "2024",
    source: "rest",
    skip_unknown: true,
    labels: { a: "b c" },
  };
  const batch = copiesOfAsked("/batches", body, server);
  const options = "--since last --from 2024 --source rest --skip-unknown --label 'a:b c'";
  assert.equal(batch.cli, `streamforge load 'A,*'\\''B' t ${options} --server ${server}`);
  assert.match(batch.curl, /-d '\{"symbols":\["A","\*'\\''B"\],.*\}' http:\/\/127.0.0.1:8125\/batches$/);
  assert.match(batch.python, /urllib.request.Request\(\n {4}"http:\/\/127.0.0.1:8125\/batches",/);
  const beyond = copiesOfAsked(
    "/queues/start",
    { symbol: "A", type: "t", time_range: "2024", image: "i", parameters: {} },
    server,
  );
  assert.deepEqual([beyond.cli, beyond.beyond], [null, ["image", "parameters"]]);
  const schedule = {
    name: "n",
    symbols: ["A", "B"],
    type: "t",
    cron: "5 0 * * *",
    time_range: "yesterday",
    missed: "skip",
  };
  assert.equal(
    copiesOfAsked("/schedules", schedule, server).cli,
    `streamforge schedule add n A,B t --cron '5 0 * * *' --range yesterday --missed skip --server ${server}`,
  );
});

test("a request keeps its key until its answer is known, also in another page of the tab", () => {
  const kept = new Map<string, string>();
  const storage = {
    getItem: (name: string) => kept.get(name) ?? null,
    setItem: (name: string, value: string) => void kept.set(name, value),
    removeItem: (name: string) => void kept.delete(name),
  };
  let keys = 0;
  const once = () =>
    new Once(storage, () => {
      keys += 1;
      return `k${keys}`;
    });
  const first = once();
  assert.deepEqual([first.keyOf("a"), first.keyOf("a"), once().keyOf("a")], ["k1", "k1", "k1"]);
  assert.equal(first.keyOf("b"), "k2");
  first.known();
  assert.equal(first.keyOf("b"), "k3");
  kept.set("streamforge.asked", "{");
  assert.equal(once().keyOf("b"), "k4");
});

test("words are symbols in one spelling", () => {
  assert.deepEqual(wordsOf("a\tb,,a; \n"), ["A", "B"]);
});

test("the last word of the symbols is completed by traded ones that begin with it, then by others", () => {
  const listed = ["ABTC", "BTCUSDT", "BTCEUR", "BTC", "BTCOLD", "ETH"].map((symbol) => ({
    symbol,
    status: symbol === "BTCOLD" ? "BREAK" : "TRADING",
  }));
  assert.deepEqual(completions("ETH, btc", listed, 9), ["BTCEUR", "BTCUSDT", "BTCOLD", "ABTC"]);
  assert.deepEqual(completions("ETH, btc", listed, 2), ["BTCEUR", "BTCUSDT"]);
  assert.deepEqual([completions("btc ", listed, 9), completions("*BTC", listed, 9)], [[], []]);
  assert.equal(completed("ETH, btc", "BTCUSDT"), "ETH, BTCUSDT ");
});
