import assert from "node:assert/strict";
import test from "node:test";
import { type Change, told } from "./changes.ts";
import { follow, Later, type Source } from "./follow.ts";

type Script = Error | string;

/** A server that plays a script, a stream or a refusal for each time that it is opened; and what came of it. */
class Played implements Source {
  readonly opened: string[] = [];
  readonly pauses: number[] = [];
  readonly states: boolean[] = [];
  readonly delivered: [string[], boolean, string][] = [];
  readonly #scripts: readonly Script[];
  readonly #ending = new AbortController();
  beats = 0;

  constructor(...scripts: Script[]) {
    this.#scripts = scripts;
  }

  async open(lastId: string): Promise<AsyncIterable<Uint8Array>> {
    const script = this.#scripts[this.opened.length];
    this.opened.push(lastId);
    if (script instanceof Error) throw script;
    return (async function* () {
      for (const part of (script ?? "").match(/.{1,7}/gs) ?? []) yield new TextEncoder().encode(part);
    })();
  }

  heard(): void {
    this.beats += 1;
  }

  deliver(changes: readonly Change[], again: boolean, lastId: string): void {
    const names = changes.map((one) => `${one.kind} ${one.id}${one.document === null ? " gone" : ""}`);
    this.delivered.push([names, again, lastId]);
  }

  state(live: boolean): void {
    if (this.states.at(-1) !== live) this.states.push(live);
  }

  async pause(ms: number): Promise<void> {
    this.pauses.push(ms);
    if (this.opened.length === this.#scripts.length) this.#ending.abort();
  }

  chance(): number {
    return 1;
  }

  async play(lastId = ""): Promise<void> {
    await follow(this, lastId, this.#ending.signal);
  }
}

function frame(name: string, body: unknown, id?: number): string {
  return `event: ${name}\n${id === undefined ? "" : `id: r-${id}\n`}data: ${JSON.stringify(body)}\n\n`;
}

const OPEN = frame("open", { resumed: false }, 1);
const RESUMED = frame("open", { resumed: true }, 1);

test("a stream that breaks goes on behind its last event", async () => {
  const played = new Played(
    OPEN + frame("workflow", { queue_id: "wf-a" }, 2) + frame("batch", { batch_id: "b" }, 3),
    RESUMED + frame("removed", { kind: "workflow", id: "wf-a", reason: "deleted" }, 4) + frame("newer", {}, 5),
  );
  await played.play();
  assert.deepEqual(played.opened, ["", "r-3"]);
  assert.deepEqual(played.delivered, [
    [[], true, "r-1"],
    [["workflow wf-a"], false, "r-2"],
    [["batch b"], false, "r-3"],
    [["workflow wf-a gone"], false, "r-4"],
  ]);
  assert.deepEqual(played.states, [true, false, true, false]);
  assert.deepEqual(played.pauses, [1000, 1000]);
  assert.ok(played.beats > 10);
});

test("a reset says that all is to be read again, and is gone on from", async () => {
  const played = new Played(
    frame("open", { resumed: false }) + frame("reset", { reason: "" }, 7),
    new Error("refused"),
  );
  await played.play("old-9");
  assert.deepEqual(played.opened, ["old-9", "r-7"]);
  assert.deepEqual(played.delivered.at(-1), [[], true, "r-7"]);
});

test("the pause doubles while the server refuses, and is as long as it asks at least", async () => {
  const refused = new Error("no answer");
  const played = new Played(refused, refused, refused, new Later("busy", 20_000), refused, refused, refused, OPEN);
  await played.play();
  assert.deepEqual(played.pauses, [1000, 2000, 4000, 20_000, 16_000, 30_000, 30_000, 1000]);
});

test("it comes back at once where the server closes, and late where another stream took its place", async () => {
  const played = new Played(
    OPEN + frame("end", { reason: "closing" }) + frame("workflow", { queue_id: "never" }, 9),
    RESUMED + frame("end", { reason: "replaced" }),
    RESUMED + frame("end", { reason: "slow" }),
  );
  await played.play();
  assert.deepEqual(played.pauses, [1000, 30_000, 1000]);
  assert.deepEqual(played.delivered, [[[], true, "r-1"]]);
});

test("what is no JSON ends the stream, and the next one begins where this one was", async () => {
  const played = new Played(`${OPEN}event: workflow\nid: r-2\ndata: {\n\n`, RESUMED);
  await played.play();
  assert.deepEqual(played.opened, ["", "r-1"]);
});

test("what comes before a reset is older than what is read again for it", () => {
  const event = (name: string, body: object) => ({ name, data: JSON.stringify(body), id: "" });
  const found = told([event("workflow", { queue_id: "old" }), event("reset", {}), event("batch", { batch_id: "new" })]);
  assert.equal(found.again, true);
  assert.deepEqual(
    found.changes.map((one) => one.id),
    ["new"],
  );
});
