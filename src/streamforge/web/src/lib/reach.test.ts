import assert from "node:assert/strict";
import test from "node:test";
import { Reach } from "./reach.ts";

/** A server that answers as it is told; `changes` is what the page was told. */
class Server {
  readonly changes: [boolean, number | null][] = [];
  readonly reach: Reach;
  asked = 0;
  wakes: (() => void)[] = [];
  #answer: (well: boolean) => void = () => {};

  constructor() {
    this.reach = new Reach({
      ask: () => {
        this.asked += 1;
        return new Promise((resolve) => {
          this.#answer = resolve;
        });
      },
      pause: (_, ended) =>
        new Promise((resolve) => {
          this.wakes.push(resolve);
          ended.addEventListener("abort", () => resolve());
        }),
      now: () => 100,
      chance: () => 1,
      changed: (failing, againMs) => this.changes.push([failing, againMs]),
    });
  }

  async says(well: boolean): Promise<void> {
    this.#answer(well);
    await settled();
  }
}

/** All that is ready has run. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

test("one request without an answer changes nothing while the server answers", async () => {
  const server = new Server();
  server.reach.missed();
  server.reach.missed();
  await server.says(true);
  assert.deepEqual([server.asked, server.changes], [1, []]);
  server.reach.missed();
  assert.equal(server.asked, 2);
});

test("a server that does not answer is asked again with a growing pause until it does", async () => {
  const server = new Server();
  server.reach.missed();
  await server.says(false);
  server.reach.missed();
  server.wakes.shift()?.();
  await settled();
  await server.says(false);
  assert.deepEqual(server.changes, [
    [true, 1100],
    [true, 2100],
  ]);
  server.wakes.shift()?.();
  await settled();
  await server.says(true);
  assert.deepEqual([server.asked, server.changes.at(-1)], [3, [false, null]]);
});

test("any answer says that it is back, and ends the asking", async () => {
  const server = new Server();
  server.reach.missed();
  await server.says(false);
  server.reach.answered();
  await settled();
  assert.deepEqual([server.asked, server.changes.at(-1)], [1, [false, null]]);
  server.reach.missed();
  const late = server.says(false);
  server.reach.answered();
  await late;
  assert.deepEqual([server.asked, server.changes.length], [2, 2]);
});

test("a person need not wait for the next time", async () => {
  const server = new Server();
  server.reach.missed();
  await server.says(false);
  server.reach.again();
  await settled();
  assert.equal(server.asked, 2);
});
