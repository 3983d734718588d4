import assert from "node:assert/strict";
import test, { mock } from "node:test";
import { Pause } from "./backoff.ts";
import { FirstPrices, type Found } from "./firstprices.ts";

const VIEW = { startMs: 0, endMs: 60_000 };
const MISSING = { problem: { status: 404 } };
const BUSY = { problem: { status: 503 }, retryAfterS: 40 };

/** Time goes on only by `after`, in which what waits for an answer has it. answers: of each series, how it is refused. */
function made(answers: Record<string, object | null>) {
  mock.timers.enable({ apis: ["setTimeout"] });
  let now = 0;
  const asked: string[] = [];
  let shown: Found = new Map();
  const prices = new FirstPrices(
    async (name) => {
      asked.push(name);
      const refusal = answers[name];
      if (refusal) throw Object.assign(new Error("no"), refusal);
      return { price: asked.length } as never;
    },
    (found) => {
      shown = found;
    },
    new Pause(
      () => now,
      () => 1,
    ),
  );
  const after = async (ms: number): Promise<string[]> => {
    now += ms;
    mock.timers.tick(ms);
    for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
    return asked.splice(0);
  };
  return { prices, answers, after, shown: () => shown };
}

test("what is not there is asked for again only once something has changed", async () => {
  const { prices, answers, after, shown } = made({ a: null, b: MISSING });
  prices.look(["a", "b"], VIEW);
  assert.deepEqual(await after(200), ["a", "b"]);
  assert.ok(shown().get("b") instanceof Error);
  assert.deepEqual(await after(3_600_000), []);
  prices.look(["a", "b"], VIEW);
  assert.deepEqual(await after(3_600_000), [], "the same view");
  answers.b = null;
  prices.refresh();
  assert.deepEqual(await after(1), ["a", "b"]);
  assert.ok(!(shown().get("b") instanceof Error));
  prices.look(["a", "b"], { startMs: 0, endMs: 120_000 });
  assert.deepEqual(await after(200), ["a", "b"]);
  mock.timers.reset();
});

test("one that fails is asked for again by itself, as late as the server wants, without the others", async () => {
  const { prices, answers, after, shown } = made({ a: null, b: BUSY, c: MISSING });
  prices.look(["a", "b", "c"], VIEW);
  assert.deepEqual(await after(200), ["a", "b", "c"]);
  prices.refresh();
  assert.deepEqual(await after(39_999), [], "not before that time is over");
  answers.b = null;
  assert.deepEqual(await after(1), ["b"]);
  assert.deepEqual([...shown().keys()], ["a", "b", "c"]);
  assert.deepEqual(await after(3_600_000), []);
  prices.refresh();
  prices.close();
  assert.deepEqual(await after(3_600_000), [], "nobody looks any more");
  mock.timers.reset();
});
