import assert from "node:assert/strict";
import test from "node:test";
import { EventParser, type ServerEvent } from "./sse.ts";

const STREAM = [
  "\ufeffretry: 2000\n\n",
  'event: open\r\nid: 5f-1\r\ndata: {"resumed":false}\r\n\r\n',
  ": still here\n\n",
  "event: workflow\rid: 5f-2\rdata: Größe €\rdata:  two\r\r",
  "id: 5f-3\n\n",
  "event: forgotten\n\n",
  "data\nunknown: x\n\n",
  'event: end\ndata: {"reason":"closing"}\n\n',
  "event: cut\ndata: not whole\n",
].join("");
const EVENTS: ServerEvent[] = [
  { name: "open", data: '{"resumed":false}', id: "5f-1" },
  { name: "workflow", data: "Größe €\n two", id: "5f-2" },
  { name: "message", data: "", id: "5f-3" },
  { name: "end", data: '{"reason":"closing"}', id: "5f-3" },
];

function cut(bytes: Uint8Array, ends: readonly number[]): ServerEvent[] {
  const parser = new EventParser();
  let from = 0;
  return [...ends, bytes.length].flatMap((end) => {
    const part = bytes.subarray(from, end);
    from = end;
    return parser.push(part);
  });
}

test("events are the same wherever the bytes are cut", () => {
  const bytes = new TextEncoder().encode(STREAM);
  const each = Array.from({ length: bytes.length }, (_, at) => at);
  assert.deepEqual(cut(bytes, []), EVENTS);
  assert.deepEqual(cut(bytes, each), EVENTS);
  for (const at of each) assert.deepEqual(cut(bytes, [at]), EVENTS, `cut at ${at}`);
});

test("an empty line between CR and LF is no end of an event", () => {
  const parser = new EventParser();
  const encode = (text: string) => new TextEncoder().encode(text);
  assert.deepEqual(parser.push(encode("data: a\r")), []);
  assert.deepEqual(parser.push(encode("")), []);
  assert.deepEqual(parser.push(encode("\ndata: b\n\n")), [{ name: "message", data: "a\nb", id: "" }]);
});

test("an id with NUL in it is none", () => {
  const bytes = new TextEncoder().encode("id: a\ndata: 1\n\nid: b\0\ndata: 2\n\n");
  assert.deepEqual(
    new EventParser().push(bytes).map((one) => one.id),
    ["a", "a"],
  );
});

test("an event that is too large ends the stream, as one line or as many", () => {
  const push = (text: string) => new EventParser(10).push(new TextEncoder().encode(text));
  assert.throws(() => push("data: 123456"), /longer than 10/);
  assert.throws(() => push("data: 123456\ndata: 12345\n"), /longer than 10/);
  assert.equal(push("data: 12345\n\ndata: 67890\n\n").length, 2);
});
