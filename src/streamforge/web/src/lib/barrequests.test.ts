import assert from "node:assert/strict";
import test, { mock } from "node:test";
import type { Bars } from "../api/types.ts";
import { BarRequests } from "./barrequests.ts";
import type { Asked } from "./view.ts";

interface Request {
  asked: Asked;
  signal: AbortSignal;
  answer: (bars: Partial<Bars>) => Promise<void>;
  refuse: (error?: object) => Promise<void>;
}

/** Lets what waits for an answer have it and go on. */
async function settled(answer: () => void): Promise<void> {
  answer();
  for (let turn = 0; turn < 5; turn += 1) await Promise.resolve();
}

function made() {
  const requests: Request[] = [];
  const shown: [Partial<Bars>, Asked][] = [];
  const failures: Error[] = [];
  const asking = new BarRequests(
    (asked, signal) =>
      new Promise((resolve, reject) => {
        requests.push({
          asked,
          signal,
          answer: (bars) => settled(() => resolve({ computing: 0, ...bars } as Bars)),
          refuse: (error = {}) => settled(() => reject(Object.assign(new Error("no"), error))),
        });
      }),
    { show: (bars, asked) => shown.push([bars, asked]), fail: (error) => failures.push(error) },
  );
  return { asking, requests, shown, failures };
}

const at = (startMs: number): Asked => ({ startMs, endMs: startMs + 1, max: 50 });

test.beforeEach(() => mock.timers.enable({ apis: ["setTimeout", "Date"] }));
test.afterEach(() => mock.timers.reset());

test("of many views in a row the last one alone is asked for", async () => {
  const { asking, requests, shown } = made();
  for (const start of [1, 2, 3]) {
    asking.look(at(start));
    mock.timers.tick(100);
  }
  assert.equal(requests.length, 0);
  mock.timers.tick(120);
  assert.deepEqual(
    requests.map((one) => one.asked.startMs),
    [3],
  );
  await requests[0]?.answer({});
  assert.deepEqual(
    shown.map(([, asked]) => asked.startMs),
    [3],
  );
});

test("what is outdated is aborted, and its answer shown no more", async () => {
  const { asking, requests, shown } = made();
  asking.look(at(1));
  mock.timers.tick(120);
  asking.look(at(2));
  assert.equal(requests[0]?.signal.aborted, true);
  await requests[0]?.answer({});
  mock.timers.tick(120);
  await requests[1]?.answer({});
  assert.deepEqual(
    shown.map(([, asked]) => asked.startMs),
    [2],
  );
});

test("what is still computed is asked for again, soon at first, until all is there", async () => {
  const { asking, requests, shown } = made();
  for (const views of [1, 2]) {
    asking.look(at(views));
    mock.timers.tick(120);
    const before = requests.length;
    for (const [round, wait] of [250, 500, 1000, 1000].entries()) {
      await requests[before - 1 + round]?.answer({ computing: 5 });
      mock.timers.tick(wait - 1);
      assert.equal(requests.length, before + round);
      mock.timers.tick(1);
      assert.equal(requests.length, before + round + 1);
    }
    await requests[before + 3]?.answer({});
    mock.timers.tick(60_000);
    assert.equal(requests.length, before + 4);
    assert.equal(shown.length, views * 5);
  }
});

test("after a failure it asks again, later each time, and never after its end", async () => {
  const { asking, requests, failures } = made();
  asking.look(at(1));
  mock.timers.tick(120);
  for (let round = 0; round < 3; round += 1) {
    await requests[round]?.refuse();
    assert.equal(requests.length, round + 1);
    mock.timers.tick(30_000);
    assert.equal(requests.length, round + 2);
  }
  assert.equal(failures.length, 3);
  asking.close();
  await requests[3]?.refuse();
  mock.timers.tick(60_000);
  assert.equal(requests.length, 4);
  assert.equal(failures.length, 3);
});

test("it waits as long as the server asks it to", async () => {
  const { asking, requests } = made();
  asking.look(at(1));
  mock.timers.tick(120);
  await requests[0]?.refuse({ retryAfterS: 60 });
  mock.timers.tick(59_999);
  assert.equal(requests.length, 1);
  mock.timers.tick(1);
  assert.equal(requests.length, 2);
});

test("by itself it asks no sooner after a failure; what may have changed meanwhile is asked for behind it", async () => {
  const { asking, requests } = made();
  asking.look(at(1));
  mock.timers.tick(120);
  await requests[0]?.refuse({ retryAfterS: 60 });
  asking.refresh();
  assert.equal(requests.length, 1);
  mock.timers.tick(60_000);
  asking.refresh();
  await requests[1]?.refuse();
  mock.timers.tick(999);
  assert.equal(requests.length, 2);
  mock.timers.tick(29_001);
  asking.refresh();
  await requests[2]?.answer({});
  mock.timers.tick(0);
  assert.equal(requests.length, 4);
  await requests[3]?.answer({});
  asking.refresh();
  assert.equal(requests.length, 5);
});

test("again asks at once, but not twice at a time: what may have changed meanwhile is asked for behind it", async () => {
  const { asking, requests } = made();
  asking.again();
  assert.equal(requests.length, 0);
  asking.look(at(1));
  mock.timers.tick(120);
  asking.again();
  assert.equal(requests.length, 1);
  asking.extend(9);
  await requests[0]?.answer({});
  mock.timers.tick(0);
  assert.deepEqual(requests[1]?.asked, { startMs: 1, endMs: 9, max: 50 });
  await requests[1]?.answer({});
  asking.again();
  assert.equal(requests.length, 3);
});
